"""DiscordChatExporter files: every age of the schema, every message type, whole and broken."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persona.adapters.exports import Problems, find_exports
from persona.adapters.exports.dce import CUT_OFF, read_dce
from persona.domain.chat import Attachment, AuthorId, ChannelId, ChannelKind, MessageId, MessageKind, Reaction
from tests.fakes.exported import CHANNEL, dce_document, dce_message, read, write

SHARED = Path(os.environ.get("PERSONA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SAMPLES = SHARED / "dce-samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no sample exports at {SAMPLES}")


def read_pieces(text, *, size=None, name="x.json"):
    """Read a document that comes in pieces of a size."""
    problems = Problems()
    pieces = [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]
    messages = [message for batch in read_dce(iter(pieces), name, problems) for message in batch.messages]
    return messages, problems.listed()


def by_second(found):
    return {message.id & 0xFFFF: message for message in found.messages}


@needs_samples
def test_the_kitchen_sink_is_read_whole():
    found = read(next(SAMPLES.glob("Kitchen Sink - Text*")))
    assert found.problems == ()
    (channel,) = found.channels
    assert (channel.id, channel.guild_id, channel.guild_name, channel.name, channel.kind) == (
        1100000000000000101,
        1100000000000000001,
        "Kitchen Sink",
        "general",
        ChannelKind.TEXT,
    )
    assert channel.parent_id is None  # a category is no channel
    said = dict(enumerate(found.messages, start=1))
    kinds = [message.kind.value for message in found.messages]
    assert kinds == [
        *("system", "default", "reply", "default", "default", "default", "default", "default", "system", "system"),
        *("system", "command", "system", "forward", "reply", "default", "default", "default", "default", "default"),
    ]
    assert said[2].content == "morning all 👋 who broke the build?"
    assert said[2].pinned
    assert said[2].created_at == datetime(2024, 5, 4, 12, 2, 2, 500_000, tzinfo=UTC)
    assert (said[2].author.name, said[2].author.display_name) == ("ada", "Ada ✨")
    assert said[3].reply_to == said[2].id
    assert [author.display_name for author in said[3].mentions] == ["Ada ✨", "Cy"]
    assert said[4].edited_at == datetime(2024, 5, 4, 12, 4, 35, tzinfo=UTC)
    assert said[5].attachments == (Attachment(kind="file", name="build.log", size_bytes=20480),)
    assert said[6].attachments == (Attachment(kind="sticker", name="wumpus wave"),)
    assert said[7].attachments == (Attachment(kind="embed", name="A post", description="A post: hello :kek:"),)
    assert said[9].reply_to is None  # a pin notice points at a message but answers nothing
    assert said[12].author.is_bot
    assert said[14].content == "forwarded words"
    assert said[14].reply_to is None
    assert said[15].reply_to == 1100000000000000999  # it no longer exists
    assert [(r.emoji, r.count) for r in found.reactions if r.message_id == said[2].id] == [
        ("👍", 3),
        (":kek:", 2),
        ("❤️", 1),
    ]


@needs_samples
def test_the_old_schema_gives_the_same_messages():
    new, old = (read(next(SAMPLES.glob(f"Kitchen Sink{age} - Text*"))) for age in ("", " Old"))
    assert old.problems == ()
    assert old.reactions == new.reactions
    assert [message.id for message in old.messages] == [message.id for message in new.messages]
    different = [n.id for n, o in zip(new.messages, old.messages, strict=True) if n != o]
    assert different == [message.id for message in new.messages if message.kind is MessageKind.FORWARD]


@needs_samples
def test_a_thread_knows_its_channel_and_local_offsets_become_utc():
    found = read(next(SAMPLES.glob("*build fire*")))
    (channel,) = found.channels
    assert (channel.kind, channel.parent_id) == (ChannelKind.THREAD, 1100000000000000101)
    starter, reply = found.messages
    assert (starter.kind, starter.reply_to) == (MessageKind.SYSTEM, None)
    assert reply.created_at == datetime(2024, 5, 4, 13, 42, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [("", 0), (".1", 100_000), (".12", 120_000), (".123456", 123_456), (".1234567", 123_456), (".0000009", 0)],
)
@pytest.mark.parametrize(("offset", "hours"), [("+00:00", 0), ("+02:00", 2), ("-11:30", -11.5), ("Z", 0), ("", 0)])
def test_times_with_any_offset_and_fraction(written, microseconds, offset, hours):
    record = dce_message(1, timestamp=f"2024-05-04T12:00:00{written}{offset}")
    (message,), problems = read_pieces(json.dumps(dce_document(record)))
    assert message.created_at == datetime(2024, 5, 4, 12, 0, 0, microseconds, tzinfo=UTC) - timedelta(hours=hours)
    assert problems == ()


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("Default", MessageKind.DEFAULT),
        ("0", MessageKind.DEFAULT),
        ("19", MessageKind.REPLY),
        (19, MessageKind.REPLY),
        ("20", MessageKind.COMMAND),
        ("23", MessageKind.COMMAND),
        ("8", MessageKind.SYSTEM),
        ("46", MessageKind.SYSTEM),
        ("GuildMemberJoin", MessageKind.SYSTEM),
        ("SomethingNew", MessageKind.SYSTEM),
        (["Default"], MessageKind.SYSTEM),
    ],
)
def test_message_types_by_name_and_number(written, kind):
    (message,), _ = read_pieces(json.dumps(dce_document(dce_message(1, type=written))))
    assert message.kind is kind


def test_the_oldest_records_have_hardly_any_field():
    record = {"id": "5", "author": {"id": "2", "name": "ann"}, "content": "hi"}
    (message,), problems = read_pieces(json.dumps({"channel": {"id": "9"}, "messages": [record]}))
    assert (message.content, message.author.display_name, message.kind) == ("hi", "ann", MessageKind.DEFAULT)
    assert [problem.reason for problem in problems] == ["no valid timestamp, taken from the id"]


def test_a_channel_is_known_by_its_file_name_where_the_header_comes_last():
    document = {"messages": [dce_message(1)], "channel": {"id": str(CHANNEL)}}
    (message,), _ = read_pieces(json.dumps(document), name=f"Home - general [{CHANNEL}] [part 2].json")
    assert message.channel_id == CHANNEL
    messages, problems = read_pieces(json.dumps(document))
    assert messages == []
    assert problems[0].reason == "the file does not say which channel it is"


def test_an_empty_channel_is_still_a_channel(tmp_path):
    found = read(write(tmp_path / "a.json", dce_document()))
    assert [channel.name for channel in found.channels] == ["general"]
    assert found.problems == ()


def test_partitions_belong_to_one_channel(tmp_path):
    for part in (1, 2, 10):
        write(tmp_path / f"x [{CHANNEL}] [part {part}].json", dce_document(dce_message(part, f"part {part}")))
    files = find_exports([tmp_path]).files
    assert [read(file.path).texts for file in files] == [["part 1"], ["part 2"], ["part 10"]]
    assert {read(file.path).channels[0].id for file in files} == {CHANNEL}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "no ending"])
def test_minified_and_compressed_files_are_known_by_their_content(name, indent, tmp_path):
    messages = [dce_message(number, f"text {number} — 👋") for number in range(2500)]
    found = read(write(tmp_path / name, dce_document(*messages), indent=indent))
    assert found.texts == [f"text {number} — 👋" for number in range(2500)]
    assert [len(batch.messages) for batch in found.batches] == [1000, 1000, 500]
    assert found.problems == ()


@given(size=st.integers(1, 400))
@settings(max_examples=60)
def test_the_size_of_the_pieces_does_not_matter(size):
    document = json.dumps(
        dce_document(*(dce_message(number, f'{number} "\\ ü😀 [{{') for number in range(4))), indent=1
    )
    assert read_pieces(document, size=size) == read_pieces(document)
    assert len(read_pieces(document)[0]) == 4


DOCUMENT = json.dumps(dce_document(*(dce_message(number, f"n{number} é") for number in range(6))), indent=2)


@given(at=st.integers(0, len(DOCUMENT) - 2))
@example(at=0)
@settings(max_examples=300)
def test_a_file_cut_off_anywhere_keeps_what_came_before_and_says_so(at):
    cut = DOCUMENT[:at]
    messages, problems = read_pieces(cut)
    whole = cut.count('"inlineEmojis": []\n    }')
    assert [message.content for message in messages] == [f"n{number} é" for number in range(whole)]
    assert sum(problem.count for problem in problems) == 1
    assert problems[0].lost
    assert problems[0].reason == CUT_OFF


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_compressed_file_cut_off_keeps_what_came_before(share, tmp_path):
    import random

    letters = random.Random(1)
    messages = [dce_message(n, "".join(letters.choices("abcdefghij ", k=200))) for n in range(3000)]
    path = write(tmp_path / "a.json.gz", dce_document(*messages))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    found = read(path)
    assert found.texts == [message["content"] for message in messages[: len(found.texts)]]
    assert len(found.texts) >= 3000 * share * 0.8 - 300
    assert set(found.lost) == {"the compressed file is cut off; what came before is kept", CUT_OFF}
    assert all(problem.where for problem in found.problems)


def test_damaged_compression_keeps_what_came_before(tmp_path):
    messages = [dce_message(n, os.urandom(60).hex()) for n in range(3000)]
    path = write(tmp_path / "a.json.gz", dce_document(*messages))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = os.urandom(2000)
    path.write_bytes(bytes(data))
    found = read(path)
    assert 500 < len(found.texts) < 3000
    assert found.lost


def test_a_broken_message_in_the_middle_costs_only_itself():
    text = json.dumps(dce_document(*(dce_message(number, f"n{number}") for number in range(5))))
    broken = text.replace('"content": "n2"', '"content": n2 {"x": ["]"]}')
    messages, problems = read_pieces(broken)
    assert [message.content for message in messages] == ["n0", "n1", "n3", "n4"]
    assert [(problem.reason, problem.where, problem.count) for problem in problems] == [
        ("not valid JSON", "message 3", 1)
    ]


@pytest.mark.parametrize(
    "record",
    [
        None,
        7,
        "text",
        [],
        {},
        {"id": None},
        {"id": "NaN", "author": {"id": "2"}},
        dce_message(1, id="-5"),
        dce_message(1, id="0"),
        dce_message(1, id=str(1 << 63)),
        dce_message(1, id=1.5),
        dce_message(1, id=True),
        dce_message(1, id="٣"),
        dce_message(1, id="1" * 5000),
        dce_message(1, author=None),
        dce_message(1, author="ann"),
        dce_message(1, author={"id": "x"}),
        dce_message(1, author={"id": ["2"]}),
    ],
)
def test_records_without_identity_are_counted_and_passed_over(record):
    text = json.dumps(dce_document(dce_message(2, "before"), record, dce_message(3, "after")))
    messages, (problem,) = read_pieces(text)
    assert [message.content for message in messages] == ["before", "after"]
    assert (problem.where, problem.count, problem.lost) == ("message 2", 1, True)


def test_numbers_that_are_none_cost_one_record_each():
    text = json.dumps(dce_document(*(dce_message(number, f"n{number}") for number in range(4))))
    for number, bad in ((1, "NaN"), (2, "1" * 20_000)):
        text = text.replace(f'"{dce_message(number)["id"]}"', bad)
    messages, (problem,) = read_pieces(text)
    assert [message.content for message in messages] == ["n0", "n3"]
    assert (problem.reason, problem.count) == ("no valid message id", 2)


def test_wrong_types_in_the_rest_are_left_out_and_counted():
    record = dce_message(
        1,
        content=["no", "text"],
        timestamp=12,
        timestampEdited="yesterday",
        isPinned="yes",
        attachments=[None, {"fileName": 5, "fileSizeBytes": -1}, 3],
        embeds="none",
        stickers=[{"name": None}],
        reactions=[{"emoji": None, "count": 1}, {"emoji": {"name": "👍"}, "count": "many"}, 5],
        mentions=[{"id": "x"}, None, {"id": "3", "name": ["ben"]}],
        reference="none",
    )
    (message,), problems = read_pieces(json.dumps(dce_document(record)))
    assert message.content == ""
    assert message.edited_at is None
    assert not message.pinned
    assert message.attachments == (
        Attachment(kind="file", name="unnamed"),
        Attachment(kind="sticker", name="unnamed"),
    )
    assert [author.id for author in message.mentions] == [AuthorId(3)]
    assert {problem.reason: problem.count for problem in problems} == {
        "content is not text, left empty": 1,
        "no valid timestamp, taken from the id": 1,
        "no valid edit time, left out": 1,
        "a reaction without emoji or count, left out": 2,
    }
    assert not any(problem.lost for problem in problems)


def test_of_doubled_keys_the_last_one_counts():
    text = json.dumps(dce_document(dce_message(1, "first"))).replace(
        '"content": "first"', '"content": "first", "content": "last"'
    )
    (message,), problems = read_pieces(text)
    assert message.content == "last"
    assert problems == ()


def test_deep_nesting_costs_one_record():
    deep = "[" * 100_000 + "]" * 100_000
    text = json.dumps(dce_document(dce_message(1, "before"), dce_message(2), dce_message(3, "after"))).replace(
        '"content": "hello"', f'"content": {deep}'
    )
    messages, (problem,) = read_pieces(text, size=1 << 16)
    assert [message.content for message in messages] == ["before", "after"]
    assert problem.reason == "nested too deeply"


def test_a_huge_text_is_cut_and_a_gigantic_record_passed_over():
    text = json.dumps(
        dce_document(dce_message(1, "x" * 100_000), dce_message(2, '\\"]}' * 6_000_000), dce_message(3, "after"))
    )
    messages, problems = read_pieces(text, size=1 << 19)
    assert [len(message.content) for message in messages] == [4000, 5]
    assert {problem.reason: problem.lost for problem in problems} == {
        "text longer than 4000 characters, cut": False,
        "longer than 16 million characters": True,
    }


def test_emoji_are_named_and_half_characters_mended():
    record = dce_message(
        1,
        "half \ud83d pair\0",
        reactions=[
            {"emoji": {"id": "", "name": "🎉", "code": "tada"}, "count": 2},
            {"emoji": {"id": "302", "name": "kek"}, "count": 1},
            {"emoji": {"id": "", "name": "🎉"}, "count": 9},
            {"emoji": {"id": "", "name": "💤"}, "count": 0},
        ],
    )
    problems = Problems()
    (batch,) = read_dce(iter([json.dumps(dce_document(record))]), "x.json", problems)
    message_id = MessageId(int(record["id"]))
    assert batch.messages[0].content == "half \ufffd pair"
    assert batch.reactions == (
        Reaction(message_id=message_id, emoji="🎉", count=2),
        Reaction(message_id=message_id, emoji=":kek:", count=1),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_are_told_by_their_marks(encoding, tmp_path):
    path = write(
        tmp_path / "a.json", json.dumps(dce_document(dce_message(1, "grüße")), ensure_ascii=False).encode(encoding)
    )
    found = read(path)
    assert found.texts == ["grüße"]
    assert found.problems == ()


def test_bytes_that_are_no_text_are_replaced_and_counted(tmp_path):
    data = json.dumps(dce_document(dce_message(1, "gr\xfc\xdfe")), ensure_ascii=False).encode("latin-1")
    found = read(write(tmp_path / "a.json", data))
    assert found.texts == ["gr\ufffd\ufffde"]
    assert found.mended == {"bytes that are not UTF-8, replaced": 2}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*dce_message(1), "reference", "forwardedMessage", "stickers"])
parts = st.sampled_from(["id", "name", "nickname", "emoji", "count", "fileName", "messageId", "type", "isBot", "title"])
shaped = (
    anything | st.dictionaries(parts, anything, max_size=5) | st.lists(st.dictionaries(parts, anything, max_size=4))
)


@given(st.dictionaries(fields, shaped, max_size=6))
@settings(max_examples=400)
def test_no_record_raises_and_each_is_read_or_counted(changes):
    text = json.dumps(dce_document(dce_message(1, "before"), dce_message(2) | changes, dce_message(3, "after")))
    messages, problems = read_pieces(text)
    lost = sum(problem.count for problem in problems if problem.lost)
    assert len(messages) + lost == 3
    assert (messages[0].content, messages[-1].content) == ("before", "after")
    for message in messages:
        assert 0 < message.id < 1 << 63
        assert message.created_at.tzinfo is UTC
        message.content.encode()


@given(st.text(max_size=200) | st.text(alphabet='{}[]",:\\ tn1é', max_size=200))
@settings(max_examples=300)
def test_no_text_raises(junk):
    for text in (junk, '{"guild": {}, "channel": {"id": "9"}, "messages": [' + junk):
        messages, problems = read_pieces(text, size=7)
        assert problems or messages is not None
        assert all(message.channel_id == ChannelId(9) for message in messages)
