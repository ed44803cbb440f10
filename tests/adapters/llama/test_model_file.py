import hashlib
import os
import struct

import gguf
import pytest

from persona.adapters.llama.gguf_header import BLOCKS, GgufError, read_header
from persona.adapters.llama.model_file import check_model_file
from persona.errors import EXIT_CONFIG, ModelFileError
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf


def problem_with(path, **options):
    with pytest.raises(ModelFileError) as caught:
        check_model_file(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert caught.value.cure
    assert caught.value.exit_code == EXIT_CONFIG
    return line


def minimal_header(*, tensors=0, entries=b"", count=0, version=3, magic=b"GGUF"):
    return magic + struct.pack("<IQQ", version, tensors, count) + entries


def text_entry(key, value):
    return struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value


def test_a_whole_file_is_described(scripted_gguf):
    found = check_model_file(scripted_gguf)
    reference = gguf.GGUFReader(scripted_gguf)
    assert found.sha256 == hashlib.sha256(scripted_gguf.read_bytes()).hexdigest()
    assert found.header.architecture == "qwen2"
    assert found.header.tensors == len(reference.tensors)
    assert found.header.parameters == sum(int(t.n_elements) for t in reference.tensors)
    assert found.header.needed_bytes <= scripted_gguf.stat().st_size < found.header.needed_bytes + 32
    assert found.prompt_hash is None
    assert found.unchanged


def test_tensor_sizes_are_those_of_the_format():
    known = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert dict(BLOCKS) == known


def test_our_metadata_is_read(tmp_path):
    metadata = {"persona.prompt_hash": "ab" * 32, "persona.name": "Pip"}
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(metadata=metadata))
    found = check_model_file(path)
    assert found.prompt_hash == "ab" * 32
    assert found.header.text("persona.name") == "Pip"


@pytest.mark.parametrize("missing", [1, 4096, 200_000])
def test_a_file_that_ends_too_early_is_noticed_before_it_is_mapped(tmp_path, scripted_gguf, missing):
    path = tmp_path / "short.gguf"
    whole = scripted_gguf.read_bytes()
    end = read_header(scripted_gguf).needed_bytes
    path.write_bytes(whole[: end - missing])
    assert "cut off" in problem_with(path)


@pytest.mark.parametrize("length", [4, 7, 8, 20, 24, 30, 100, 3000])
def test_a_file_that_ends_in_its_header_is_noticed(tmp_path, scripted_gguf, length):
    path = tmp_path / "short.gguf"
    path.write_bytes(scripted_gguf.read_bytes()[:length])
    assert "cut off" in problem_with(path)


def test_every_prefix_of_the_header_is_refused_cleanly(tmp_path, scripted_gguf):
    whole = scripted_gguf.read_bytes()
    path = tmp_path / "prefix.gguf"
    for length in range(0, 2000, 13):
        path.write_bytes(whole[:length])
        with pytest.raises(GgufError):
            read_header(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "ZIP or PyTorch"),
        (b"just some text", "not a GGUF file"),
        (minimal_header(version=99), "version 99"),
        (minimal_header(version=int.from_bytes((3).to_bytes(4, "big"), "little")), "big-endian"),
        (minimal_header(count=1 << 60), "damaged header"),
        (minimal_header(tensors=1 << 40), "damaged header"),
        (minimal_header(count=1, entries=struct.pack("<Q", 1 << 50) + b"x"), "cut off"),
        (minimal_header(count=1, entries=struct.pack("<Q", 1) + b"k" + struct.pack("<I", 77)), "value type 77"),
        (minimal_header(count=1, entries=text_entry(b"general.architecture", b"qwen2")), "no language model"),
        (minimal_header(count=1, entries=text_entry(b"general.type", b"adapter")), "only an add-on"),
        (minimal_header(count=1, entries=text_entry(b"general.alignment", b"x")), "damaged header"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, content, words):
    path = tmp_path / "wrong.gguf"
    path.write_bytes(content)
    assert words in problem_with(path)


def test_a_model_in_pieces_is_refused(tmp_path):
    path = tmp_path / "m-00001-of-00002.gguf"
    entry = struct.pack("<Q", 11) + b"split.count" + struct.pack("<IH", 2, 2)
    path.write_bytes(minimal_header(count=1, entries=entry))
    assert "one of 2 pieces" in problem_with(path)


def test_a_missing_file_a_folder_and_a_pipe_are_told_apart(tmp_path):
    assert "there is no model file" in problem_with(tmp_path / "none.gguf")
    assert "persona model pull" in problem_with(tmp_path / "none.gguf")
    assert "is a folder" in problem_with(tmp_path)
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    assert "not a regular file" in problem_with(pipe)
    inside_a_file = tmp_path / "file" / "m.gguf"
    inside_a_file.parent.write_text("x")
    assert "there is no model file" in problem_with(inside_a_file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path, scripted_gguf):
    path = tmp_path / "secret.gguf"
    path.write_bytes(scripted_gguf.read_bytes())
    path.chmod(0)
    assert "cannot be read" in problem_with(path)


def test_a_flipped_bit_is_caught_by_the_checksum(tmp_path, scripted_gguf):
    digest = hashlib.sha256(scripted_gguf.read_bytes()).hexdigest()
    path = tmp_path / "m.gguf"
    damaged = bytearray(scripted_gguf.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    assert check_model_file(path).sha256 != digest
    assert "sha256" in problem_with(path, sha256=digest)
    path.write_bytes(scripted_gguf.read_bytes())
    assert check_model_file(path, sha256=digest.upper()).sha256 == digest


def test_the_checksum_beside_the_model_counts_unless_one_is_set(tmp_path, scripted_gguf):
    path = tmp_path / "m.gguf"
    path.write_bytes(scripted_gguf.read_bytes())
    digest = hashlib.sha256(scripted_gguf.read_bytes()).hexdigest()
    beside = tmp_path / "m.gguf.sha256"
    beside.write_text(f"{digest}  m.gguf\n")
    assert check_model_file(path).sha256 == digest
    beside.write_text(f"{'0' * 64}  m.gguf\n")
    assert "sha256" in problem_with(path)
    assert check_model_file(path, sha256=digest).sha256 == digest
    beside.write_text("nothing of use")
    with pytest.raises(ModelFileError, match="holds no sha256"):
        check_model_file(path)


def test_a_replaced_file_is_not_the_checked_one_any_more(tmp_path, scripted_gguf):
    path = tmp_path / "m.gguf"
    path.write_bytes(scripted_gguf.read_bytes())
    found = check_model_file(path)
    fresh = tmp_path / "fresh"
    fresh.write_bytes(scripted_gguf.read_bytes())
    fresh.replace(path)
    assert not found.unchanged
    path.unlink()
    assert not found.unchanged
