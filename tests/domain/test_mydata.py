"""What a person gets to see: everything, in whole JSON files, with plain words first."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from persona.domain.chat import Attachment, Author, AuthorId, Channel, ChannelId, GuildId, Message, MessageId, Reaction
from persona.domain.consent import Choice, Entry, Scope, Source
from persona.domain.mydata import Kept, mydata_files

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = Author(id=AuthorId(2), name="ann", display_name="Annie")
BEN = Author(id=AuthorId(3), name="ben", display_name="Ben")
KITCHEN = Channel(id=ChannelId(100), guild_id=GuildId(1), name="kitchen", guild_name="The House")


def message(number, text, **more):
    return Message(
        id=MessageId(number),
        channel_id=KITCHEN.id,
        author=ANN,
        content=text,
        created_at=NOON + timedelta(minutes=number),
        **more,
    )


def kept(messages, entries=()):
    return Kept(
        author_id=ANN.id,
        messages=messages,
        channels={KITCHEN.id: KITCHEN},
        entries=entries,
        reactions={MessageId(1): [Reaction(message_id=MessageId(1), emoji="👍", count=3)]},
    )


def test_it_says_what_is_kept_since_when_where_and_what_was_chosen():
    entries = [
        Entry(
            author_id=ANN.id,
            scope=Scope.TRAIN,
            choice=Choice.YES,
            at=NOON,
            source=Source.COMMAND,
            guild_id=GuildId(1),
            note="by /optin",
        )
    ]
    image = Attachment(kind="image", name="cat.png", size_bytes=10, description="a cat")
    said = [
        message(1, "hello Ben", mentions=(BEN,), attachments=(image,), edited_at=NOON, reply_to=MessageId(9)),
        message(2, "ünïcode ☃"),
    ]
    (data,) = mydata_files(kept(said, entries), at=NOON, contact="the moderators")
    found = json.loads(data)
    about = found["about"]
    assert about["person"] == {"id": "2", "names": ["Annie", "ann"]}
    assert about["whom_to_ask"] == "the moderators"
    assert (about["count"], about["part"]) == (2, "1 of 1")
    assert about["first_message_at"] == "2026-05-01T12:01:00+00:00"
    assert about["channels"] == [{"id": "100", "name": "kitchen", "server": "The House", "messages": 2}]
    assert about["choices"][0]["note"] == "by /optin"
    assert about["what_holds"] == {
        "1": {"stored": True, "used_for_training": True},
        "elsewhere": {"stored": True, "used_for_training": False},
    }
    assert found["messages"][0] == {
        "id": "1",
        "at": "2026-05-01T12:01:00+00:00",
        "channel": "kitchen",
        "text": "hello Ben",
        "edited_at": "2026-05-01T12:00:00+00:00",
        "reply_to": "9",
        "mentions": ["Ben"],
        "attachments": [{"kind": "image", "name": "cat.png", "description": "a cat"}],
        "reactions": {"👍": 3},
    }
    assert found["messages"][1]["text"] == "ünïcode ☃"
    assert "ünïcode ☃".encode() in data


def test_somebody_of_whom_nothing_is_kept_is_told_so():
    (data,) = mydata_files(kept([]), at=NOON)
    found = json.loads(data)
    assert found["messages"] == []
    assert found["about"]["count"] == 0
    assert found["about"]["what_holds"] == {"elsewhere": {"stored": True, "used_for_training": False}}


@given(st.lists(st.text(max_size=60), max_size=30), st.integers(1, 2000))
def test_the_parts_together_hold_everything_once_and_stay_small(texts, part_bytes):
    said = [message(number, text) for number, text in enumerate(texts, start=1)]
    files = mydata_files(kept(said), at=NOON, part_bytes=part_bytes)
    parts = [json.loads(data) for data in files]
    whole = [each["text"] for part in parts for each in part["messages"]]
    assert whole == texts
    assert [part["about"]["part"] for part in parts] == [f"{n} of {len(files)}" for n in range(1, len(files) + 1)]
    for part, data in zip(parts, files, strict=True):
        head = len(json.dumps(part["about"], ensure_ascii=False, indent=2).encode())
        assert len(data) - head <= part_bytes + 100 or len(part["messages"]) == 1
