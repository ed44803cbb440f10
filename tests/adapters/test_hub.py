import hashlib
import shutil
import socket
from dataclasses import replace

import pytest

from persona.adapters.hub import fetch, progress_bar
from persona.adapters.llama.download import gguf_download
from persona.adapters.llama.model_file import check_model_file
from persona.errors import EXIT_FAILED, DownloadError
from tests.fakes.model_hub import ModelHub


@pytest.fixture
def hub(scripted_gguf):
    with ModelHub(scripted_gguf.read_bytes()).serving() as running:
        yield running


@pytest.fixture
def wanted(hub, tmp_path):
    return patient(gguf_download(tmp_path / "models", repo=hub.repo, file=hub.file, endpoint=hub.endpoint))


def patient(download):
    return replace(download, sleep=lambda _: None)


def failure(download):
    with pytest.raises(DownloadError) as caught:
        fetch(download)
    assert "\n" not in str(caught.value)
    assert caught.value.cure
    assert caught.value.exit_code == EXIT_FAILED
    return str(caught.value)


def changed(download, **fields):
    return replace(download, **fields)


def left_over(download):
    return sorted(path.name for path in download.folder.iterdir())


def test_a_model_arrives_whole_with_its_checksum_and_progress(hub, wanted):
    seen = []
    path = fetch(wanted, on_progress=lambda done, total: seen.append((done, total)))
    assert path == wanted.folder / "model.gguf"
    assert path.read_bytes() == hub.content
    assert seen[-1] == (len(hub.content), len(hub.content))
    assert left_over(wanted) == ["model.gguf", "model.gguf.sha256"]
    assert (wanted.folder / "model.gguf.sha256").read_text() == f"{hub.etag}  model.gguf\n"
    assert check_model_file(path).sha256 == hub.etag


def test_a_model_that_is_there_is_not_fetched_again(hub, wanted):
    fetch(wanted)
    hub.requests.clear()
    assert fetch(wanted).exists()
    assert [method for method, _, _ in hub.requests] == ["HEAD"]


def test_a_damaged_copy_is_fetched_again(hub, wanted):
    path = fetch(wanted)
    path.write_bytes(b"x" * len(hub.content))
    assert fetch(wanted).read_bytes() == hub.content


def test_a_broken_connection_is_taken_up_where_it_broke(hub, wanted):
    hub.cut_after = [100_000, 50_000, 1]
    assert fetch(wanted).read_bytes() == hub.content
    ranges = [r for method, _, r in hub.requests if method == "GET"]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]


def test_the_next_run_goes_on_where_the_last_one_stopped(hub, wanted):
    hub.cut_after = [200_000, *[0] * 20]
    assert "it goes on where it stopped" in failure(wanted)
    assert left_over(wanted) == [".model.gguf.part", ".model.gguf.part.version"]
    hub.cut_after, hub.requests[:] = [], []
    assert fetch(wanted).read_bytes() == hub.content
    assert [r for method, _, r in hub.requests if method == "GET"] == ["bytes=200000-"]


def test_a_server_without_ranges_makes_it_start_over(hub, wanted):
    hub.cut_after, hub.ranges = [100_000], False
    assert fetch(wanted).read_bytes() == hub.content


def test_what_is_left_of_another_version_is_thrown_away(hub, wanted):
    hub.cut_after = [200_000, *[0] * 20]
    failure(wanted)
    hub.content = hub.content[:-16] + bytes(16)
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    hub.cut_after = []
    assert fetch(wanted).read_bytes() == hub.content


def test_damage_on_the_way_is_noticed_and_nothing_is_published(hub, wanted):
    hub.etag = "0" * 64
    assert "damaged on the way" in failure(wanted)
    assert left_over(wanted) == []


def test_a_checksum_of_ones_own_counts_too(hub, wanted):
    assert fetch(changed(wanted, sha256=hub.etag.upper())).exists()
    assert "sha256" in failure(changed(wanted, sha256="1" * 64))
    hub.etag = "not-a-hash"
    shutil.rmtree(wanted.folder)
    assert "damaged on the way" in failure(changed(wanted, sha256="1" * 64))


def test_a_file_that_is_no_model_is_not_published(wanted, hub):
    hub.content = b"<html>sorry</html>"
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert "web page" in failure(wanted)
    assert left_over(wanted) == []


def test_offline_is_one_clear_line_and_leaves_nothing_behind(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    download = patient(gguf_download(tmp_path / "models", endpoint=endpoint))
    line = failure(download)
    assert "cannot be reached" in line
    assert "copy a GGUF file" in line
    assert not download.folder.exists()


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"file": "other.gguf"}, None, "", "has no file other.gguf"),
        ({"repo": "no/such"}, 401, "RepoNotFound", "there is no model repo no/such"),
        ({"repo": "not a repo!"}, None, "", "there is no model repo"),
        ({}, 403, "GatedRepo", "accepted its licence"),
        ({}, 400, "", "answered 400"),
        ({"revision": "v9"}, 404, "RevisionNotFound", "has no file"),
    ],
)
def test_what_the_hub_refuses_is_explained(hub, wanted, fields, status, code, words):  # noqa: PLR0917
    hub.status, hub.error_code = status, code
    assert words in failure(changed(wanted, **fields))
    assert not wanted.folder.exists()


def test_a_full_disk_is_noticed_before_anything_is_fetched(hub, wanted, monkeypatch):
    usage = shutil.disk_usage(wanted.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "GB left" in failure(wanted)
    assert all(method == "HEAD" for method, _, _ in hub.requests)


def test_a_folder_that_cannot_be_written_is_named(wanted):
    wanted.folder.write_text("I am a file")
    assert str(wanted.folder) in failure(wanted)


def test_the_bar_draws_on_standard_error(capsys):
    with progress_bar("model.gguf") as on_progress:
        on_progress(512, 1024)
    captured = capsys.readouterr()
    assert "model.gguf" in captured.err
    assert captured.out == ""


def test_only_gguf_files_are_fetched_as_language_models(tmp_path):
    with pytest.raises(DownloadError, match=r"README.md is not a GGUF file.*\[model\] file"):
        gguf_download(tmp_path, file="README.md")
