"""Plain JSON lines, and telling formats apart."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.adapters.exports import ExportFormat, Problems, find_exports, read_export
from persona.adapters.exports.discovery import detect
from persona.adapters.exports.jsonl import read_jsonl
from persona.domain.chat import ChannelId, MessageKind, Reaction
from tests.fakes.exported import CHANNEL, dce_document, dce_message, jsonl_record, read, write

SHARED = Path(os.environ.get("PERSONA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not (SHARED / "jsonl").is_dir(), reason=f"no shared data at {SHARED}")


def read_pieces(text, size=None):
    problems = Problems()
    pieces = [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]
    batches = list(read_jsonl(iter(pieces), problems))
    return [message for batch in batches for message in batch.messages], problems.listed()


@needs_shared
@pytest.mark.parametrize("name", ["irc-commons.stripe", "irc-commons.ubuntu-meeting"])
def test_both_formats_tell_the_same_story(name):
    lines = read(SHARED / "jsonl" / f"{name}.jsonl.gz")
    channel = lines.channels[0]
    (path,) = (SHARED / "dce").glob(f"*/* [[]{channel.id}].json.gz")
    exported = read(path)
    assert lines.problems == exported.problems == ()
    assert exported.channels[0].name == channel.name
    talk = {message.id: message for message in exported.messages}
    assert len(lines.messages) > 3000
    for message in lines.messages:
        twin = talk[message.id]
        assert (message.content, message.author.id, message.created_at, message.reply_to) == (
            twin.content,
            twin.author.id,
            twin.created_at,
            twin.reply_to,
        )


@needs_shared
def test_reactions_and_replies_are_read():
    found = read(SHARED / "jsonl" / "oasst-reactions.assistant-trees.jsonl.gz")
    assert len(found.messages) == 595
    assert sum(reaction.count for reaction in found.reactions) == 1081
    assert sum(message.kind is MessageKind.REPLY for message in found.messages) == 545


def test_ids_may_be_numbers_and_a_file_may_hold_several_channels(tmp_path):
    records = [
        jsonl_record(1, "a", id=11, channel_id=7, author_id=3),
        jsonl_record(2, "b", channel_id="8", channel_name="other", reactions=[{"emoji": "👍", "count": 2}]),
        jsonl_record(3, "c", channel_id=7, reply_to=11),
    ]
    found = read(write(tmp_path / "x.jsonl", records))
    assert [(channel.id, channel.name, channel.guild_id) for channel in found.channels] == [
        (7, "general", 0),
        (8, "other", 0),
    ]
    assert found.messages[2].reply_to == 11
    assert found.reactions == [Reaction(message_id=found.messages[1].id, emoji="👍", count=2)]


def test_bad_lines_are_counted_with_their_number():
    lines = [
        json.dumps(jsonl_record(1, "first")),
        "{broken",
        "",
        "[1, 2]",
        json.dumps(jsonl_record(2, id="-1")),
        json.dumps(jsonl_record(2, channel_id=None)),
        json.dumps(jsonl_record(2, author_id=float("nan"))),
        '{"a":' * 50_000,
        "x" * 1_500_000,
        json.dumps(jsonl_record(3, "last")),
    ]
    for size in (1 << 19, 100_000):
        messages, problems = read_pieces("\n".join(lines), size)
        assert [message.content for message in messages] == ["first", "last"]
        assert {problem.reason: (problem.where, problem.count) for problem in problems} == {
            "not valid JSON": ("line 2", 1),
            "not an object": ("line 4", 1),
            "no valid message id": ("line 5", 1),
            "no valid channel id": ("line 6", 1),
            "no valid author id": ("line 7", 1),
            "nested too deeply": ("line 8", 1),
            "a line longer than 1 million characters": ("line 9", 1),
        }


def test_line_separators_inside_texts_do_not_end_a_line():
    record = json.dumps(jsonl_record(1, "one\u2028two\x85three\x0bfour"), ensure_ascii=False)
    messages, problems = read_pieces(record + "\r\n")
    assert [message.content for message in messages] == ["one\u2028two\x85three\x0bfour"]
    assert problems == ()


@given(size=st.integers(1, 300), ends=st.booleans())
@settings(max_examples=60)
def test_the_size_of_the_pieces_does_not_matter(size, ends):
    text = "\n".join(json.dumps(jsonl_record(number, f"n{number}")) for number in range(4)) + "\n" * ends
    messages, problems = read_pieces(text, size)
    assert [message.content for message in messages] == ["n0", "n1", "n2", "n3"]
    assert problems == ()


@given(share=st.floats(0, 1))
@settings(max_examples=100)
def test_a_file_cut_off_anywhere_keeps_whole_lines(share):
    text = "\n".join(json.dumps(jsonl_record(number, f"n{number}")) for number in range(5))
    cut = text[: int(len(text) * share)]
    messages, problems = read_pieces(cut)
    lines = [line for line in cut.split("\n") if line]
    assert len(messages) + len(problems) == len(lines)
    assert len(problems) <= 1


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())
deeper = anything | st.lists(st.dictionaries(st.sampled_from(["emoji", "count"]), anything))


@given(st.dictionaries(st.sampled_from(list(jsonl_record(1))), deeper, max_size=6))
@settings(max_examples=300)
def test_no_record_raises_and_each_is_read_or_counted(changes):
    lines = [jsonl_record(1, "before"), jsonl_record(2) | changes, jsonl_record(3, "after")]
    messages, problems = read_pieces("\n".join(map(json.dumps, lines)))
    assert len(messages) + sum(problem.count for problem in problems if problem.lost) == 3
    assert (messages[0].content, messages[-1].content) == ("before", "after")


def test_formats_are_told_by_content():
    dce, line = json.dumps(dce_document(dce_message(1))), json.dumps(jsonl_record(1))
    assert detect(dce, "x.jsonl") is ExportFormat.DCE
    assert detect("\n  " + dce[:100], "x") is ExportFormat.DCE
    assert detect(line, "x.json") is ExportFormat.JSONL
    assert detect("{broken\n" + line, "x.txt") is ExportFormat.JSONL
    assert detect("{broken", "x.jsonl.gz") is ExportFormat.JSONL
    for other in ("", "{}", "[]", '{"name": "x", "messages": []}', "id\tsource\n1\t2", "\x89PNG\r\n"):
        assert detect(other, "x.json") is None


def test_folders_are_walked_once_and_what_is_no_export_is_named(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    export = write(inner / "x.json", dce_document(dce_message(1)))
    lines = write(tmp_path / "y.jsonl.gz", [jsonl_record(1)])
    (inner / "loop").symlink_to(tmp_path)
    (inner / "again.json").symlink_to(export)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / "empty.json").touch()
    (tmp_path / "ranks.tsv.gz").write_bytes(gzip.compress(b"id\trank\n"))
    os.mkfifo(tmp_path / "pipe")
    found = find_exports([tmp_path, export, tmp_path / "missing"])
    assert {file.path.resolve(): file.format for file in found.files} == {
        export: ExportFormat.DCE,
        lines: ExportFormat.JSONL,
    }
    reasons = {item.path.name: item.reason for item in found.not_recognised}
    assert reasons.pop("self").startswith("cannot be read: ")
    assert reasons == {
        "notes.md": "not a chat export",
        "empty.json": "empty",
        "ranks.tsv.gz": "not a chat export",
        "pipe": "not a file",
        "missing": "does not exist",
    }


@needs_shared
def test_everything_shared_is_read_or_named():
    found = find_exports([SHARED])
    assert sum(file.format is ExportFormat.DCE for file in found.files) == 7
    assert sum(file.format is ExportFormat.JSONL for file in found.files) == 4
    assert {item.path.suffix for item in found.not_recognised} == {".md", ".gz", ".txt", ".json"}


def peak_memory(file):
    tracemalloc.start()
    problems = Problems()
    count = sum(len(batch.messages) for batch in read_export(file, problems))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return count, peak, problems.listed()


def write_many(path, number):
    """A file of many messages, written as it goes."""
    if path.name.endswith(".gz"):
        (start, end), (first, between) = json.dumps(dce_document()).split("[]"), ("[", ",")
        record, template = json.dumps(dce_message(1, "some words that somebody might say")), dce_message(1)["id"]
        with gzip.open(path, "wt", compresslevel=1) as stream:
            stream.write(start)
            stream.writelines(
                (between if n else first) + record.replace(template, str(10**17 + n)) for n in range(number)
            )
            stream.write("]" + end)
    else:
        record, template = json.dumps(jsonl_record(1, "some words that somebody might say")), jsonl_record(1)["id"]
        with path.open("w") as stream:
            stream.writelines(record.replace(template, str(10**17 + n)) + "\n" for n in range(number))


@pytest.mark.parametrize("name", ["big.json.gz", "big.jsonl"])
def test_memory_does_not_grow_with_the_file(name, tmp_path):
    path = tmp_path / name
    write_many(path, 200_000)
    (file,) = find_exports([path]).files
    count, peak, problems = peak_memory(file)
    assert count == 200_000
    assert problems == ()
    assert peak < 12_000_000


@pytest.mark.parametrize("start", ["", '{"guild": {}, "channel": {"id": "9"}, "messages": [{"id": "', '{"x'])
def test_a_bomb_of_one_endless_line_is_counted_in_flat_memory(start, tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=6) as stream:
        stream.write(start.encode())
        for _ in range(100):
            stream.write(b"a" * 1_000_000)
    assert path.stat().st_size < 200_000
    (file,) = find_exports([path]).files
    count, peak, problems = peak_memory(file)
    assert count == 0
    assert any(problem.lost for problem in problems)
    assert peak < 150_000_000 if "guild" in start else peak < 20_000_000


def test_a_duplicate_of_a_channel_name_in_hostile_letters_is_kept_short(tmp_path):
    found = read(write(tmp_path / "x.jsonl", [jsonl_record(1, channel_name="n" * 5000, author_name="a" * 5000)]))
    assert found.channels[0].id == ChannelId(CHANNEL)
    assert len(found.channels[0].name) == 100
    assert len(found.messages[0].author.name) == 100
