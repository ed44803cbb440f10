"""Message payloads become the chat's own vocabulary, whatever is on them and whatever is missing."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.discord import convert
from persona.domain.chat import Attachment, MessageKind, Reaction, snowflake_at

NOW = datetime(2024, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)
ID = snowflake_at(NOW)
ANN = {"id": "11", "username": "ann", "global_name": "Ann", "discriminator": "0", "avatar": None}
BEN = {"id": "12", "username": "ben", "global_name": None, "bot": True}
ME, MY_ROLE = 99, 77


def payload(**fields):
    base = {"id": str(ID), "channel_id": "5", "type": 0, "author": ANN, "content": "hello", "edited_timestamp": None}
    return {**base, "mentions": [], "attachments": [], "embeds": [], **fields}


def test_a_plain_message():
    message = convert.message(payload(pinned=True))
    assert (message.id, message.channel_id, message.content, message.kind) == (ID, 5, "hello", MessageKind.DEFAULT)
    assert message.created_at == NOW
    assert (message.author.name, message.author.display_name, message.author.is_bot) == ("ann", "Ann", False)
    assert message.is_talk
    assert message.pinned
    assert message.edited_at is None
    assert message.reply_to is None


def test_the_server_nick_wins_over_the_global_name_and_that_over_the_user_name():
    assert convert.message(payload(member={"nick": "Annie"})).author.display_name == "Annie"
    assert convert.message(payload(), nick_of={11: "An-An"}.get).author.display_name == "An-An"
    assert convert.message(payload(member={"nick": "Annie"}), nick_of={11: "old"}.get).author.display_name == "Annie"
    assert convert.message(payload(author=BEN)).author.display_name == "ben"


def test_a_reply_names_what_it_answers_even_when_that_is_gone():
    reply = payload(type=19, message_reference={"message_id": "7", "channel_id": "5"}, referenced_message=None)
    message = convert.message(reply)
    assert (message.kind, message.reply_to) == (MessageKind.REPLY, 7)


def test_a_forward_carries_the_text_and_files_of_what_was_forwarded():
    snapshot = {
        "content": "the original",
        "attachments": [{"filename": "a.png", "content_type": "image/png", "size": 3}],
    }
    message = convert.message(
        payload(
            content="",
            message_reference={"type": 1, "message_id": "7", "channel_id": "6"},
            message_snapshots=[{"message": snapshot}],
        )
    )
    assert (message.kind, message.content, message.reply_to) == (MessageKind.FORWARD, "the original", None)
    assert message.attachments == (Attachment(kind="image", name="a.png", size_bytes=3),)
    empty = convert.message(payload(content="", message_reference={"type": 1}, message_snapshots=[]))
    assert (empty.kind, empty.content) == (MessageKind.FORWARD, "")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (0, MessageKind.DEFAULT),
        (7, MessageKind.SYSTEM),
        (20, MessageKind.COMMAND),
        (23, MessageKind.COMMAND),
        (46, MessageKind.SYSTEM),
        (999, MessageKind.SYSTEM),
    ],
)
def test_only_what_people_say_is_talk(number, kind):
    assert convert.message(payload(type=number)).kind is kind


def test_a_thread_starter_is_no_talk_and_no_reply_though_it_carries_one():
    starter = payload(
        type=21, content="", message_reference={"message_id": "7"}, referenced_message=payload(author=ANN)
    )
    message = convert.message(starter)
    assert not message.is_talk
    assert message.reply_to is None
    assert not convert.addressed(
        {**starter, "referenced_message": payload(author={"id": str(ME)})}, self_id=ME, self_role=1
    )


def test_commands_typed_as_messages_are_no_talk():
    message = convert.message(payload(content="!status"), is_command=lambda text: text.startswith("!"))
    assert message.kind is MessageKind.COMMAND


def test_webhooks_and_bots_are_bots():
    assert convert.message(payload(webhook_id="3")).author.is_bot
    assert convert.message(payload(author=BEN)).author.is_bot
    assert convert.message(payload(author={"id": "1", "username": "Discord", "system": True})).author.is_bot
    assert convert.message(payload(webhook_id="3"), nick_of={11: "somebody else"}.get).author.display_name == "Ann"


def test_mentions_come_once_with_their_nicks():
    mentions = [{**ANN, "member": {"nick": "Annie"}}, BEN, {**ANN, "member": {"nick": "Annie"}}]
    names = [one.display_name for one in convert.message(payload(mentions=mentions)).mentions]
    assert names == ["Annie", "ben"]


def test_everything_that_hangs_on_a_message_becomes_words_without_addresses():
    url = "https://cdn.discordapp.com/attachments/1/2/secret.png?ex=abc"
    message = convert.message(
        payload(
            attachments=[
                {"filename": "cat.png", "content_type": "image/png", "size": 10, "description": "a cat", "url": url},
                {"filename": "notes.txt", "size": 5, "title": "My notes", "url": url},
            ],
            sticker_items=[{"id": "1", "name": "Wave", "format_type": 1}],
            embeds=[
                {"type": "link", "title": "A page", "description": f"see {url} now", "url": url},
                {"type": "gifv", "url": url, "provider": {"name": "Tenor", "url": url}},
                {"type": "image", "url": url},
            ],
            poll={"question": {"text": "Tea?"}, "answers": [{"poll_media": {"text": t}} for t in ("yes", "no")]},
        )
    )
    assert message.attachments == (
        Attachment(kind="image", name="cat.png", size_bytes=10, description="a cat"),
        Attachment(kind="file", name="My notes", size_bytes=5),
        Attachment(kind="sticker", name="Wave"),
        Attachment(kind="embed", name="A page", description="A page: see now"),
        Attachment(kind="embed", name="Tenor", description="Tenor"),
        Attachment(kind="poll", name="Tea?", description="yes / no"),
    )
    assert "://" not in repr(message.attachments)


def test_a_voice_message_says_how_long_it_is():
    file = {"filename": "voice-message.ogg", "content_type": "audio/ogg", "duration_secs": 11.6, "size": 9}
    assert convert.message(payload(flags=8192, attachments=[file])).attachments == (
        Attachment(kind="voice", name="voice-message.ogg", size_bytes=9, description="12 s"),
    )


def test_text_that_no_database_takes_is_mended():
    message = convert.message(payload(content="a\0b \ud83d\ude00 \ud800", author={**ANN, "global_name": "\udc00x"}))
    assert message.content == "ab 😀 \ufffd"
    message.author.display_name.encode()


def test_being_addressed():
    def addressed(**fields):
        return convert.addressed(payload(**fields), self_id=ME, self_role=MY_ROLE)

    me = {"id": str(ME), "username": "persona", "bot": True}
    mine = payload(author=me)
    assert addressed(mentions=[ANN, me])
    assert addressed(mention_roles=[str(MY_ROLE)])
    assert addressed(type=19, referenced_message=mine)
    assert not addressed(mention_everyone=True, content="@everyone")
    assert not addressed(mention_roles=["78"])
    assert not addressed(type=19, referenced_message=payload(author=ANN))
    assert not addressed(type=19, referenced_message=None)
    assert not addressed(type=19, referenced_message={**mine, "webhook_id": str(ME)})
    assert not convert.addressed(payload(mention_roles=["78"]), self_id=ME, self_role=None)


def test_an_edit_tells_what_the_message_has_now_where_the_event_says_so():
    edited = {"content": "new", "edited_timestamp": "2024-05-06T07:08:09+00:00"}
    emptied = convert.edit(payload(**edited))
    assert (emptied.mentions, emptied.attachments) == ((), ())
    file = {"id": "1", "filename": "plan.pdf", "size": 3, "url": "https://x"}
    member = {**BEN, "member": {"nick": "Benny"}}
    full = convert.edit(payload(**edited, mentions=[member, ANN], attachments=[file]), nick_of={11: "Annie"}.get)
    assert [one.name for one in full.attachments] == ["plan.pdf"]
    assert [one.display_name for one in full.mentions] == ["Benny", "Annie"]
    partial = convert.edit({"id": "1", "channel_id": "5", **edited, "attachments": []})
    assert (partial.mentions, partial.attachments) == (None, None)


def test_an_update_without_an_edit_time_is_no_edit():
    assert convert.edit({"id": "1", "channel_id": "5", "embeds": [{"title": "x"}]}) is None
    assert convert.edit(payload()) is None
    assert convert.edit({"id": "1", "channel_id": "5", "edited_timestamp": "2024-05-06T07:08:09+00:00"}) is None
    edit = convert.edit(payload(content="new", edited_timestamp="2024-05-06T09:08:09.500000+02:00"))
    assert edit is not None
    assert (edit.message_id, edit.channel_id, edit.content) == (ID, 5, "new")
    assert edit.edited_at == datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)


def test_reactions_count_by_name():
    both = [
        {"count": 2, "emoji": {"id": None, "name": "👍"}},
        {"count": 3, "emoji": {"id": "1", "name": "wave"}},
        {"count": 1, "emoji": {"id": "2", "name": "wave"}},
        {"count": 1, "emoji": {"id": "3", "name": None}},
    ]
    assert list(convert.reactions(payload(reactions=both))) == [
        Reaction(message_id=ID, emoji="👍", count=2),
        Reaction(message_id=ID, emoji=":wave:", count=4),
        Reaction(message_id=ID, emoji=":emoji:", count=1),
    ]


@pytest.mark.parametrize("broken", [{}, {"id": "x"}, {"id": "1"}, {"id": "1", "channel_id": "1", "author": None}])
def test_what_is_no_message_is_refused_by_name(broken):
    with pytest.raises(convert.MalformedError, match="message"):
        convert.message(broken)


SCALARS = st.none() | st.booleans() | st.integers(-5, 2**70) | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "name", "type"]), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    (
        *("id", "type", "author", "content", "edited_timestamp", "mentions", "attachments", "embeds", "poll", "flags"),
        *("sticker_items", "message_reference", "message_snapshots", "member", "webhook_id"),
    )
)


@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_a_strange_field_never_raises_anything_else(fields):
    try:
        message = convert.message(payload(**fields))
    except convert.MalformedError:
        return
    message.content.encode()


def test_a_page_is_read_faster_than_discord_can_send_it():
    page = [
        payload(
            id=str(ID + number),
            content=f"message {number} <@11>",
            mentions=[ANN],
            attachments=[{"filename": "a.png", "content_type": "image/png", "size": 1}] if number % 5 == 0 else [],
            reactions=[{"count": 1, "emoji": {"id": None, "name": "👍"}}] if number % 3 == 0 else [],
            edited_timestamp="2024-05-06T07:08:09.123000+00:00" if number % 7 == 0 else None,
        )
        for number in range(2000)
    ]
    best = min(_seconds(page) for _ in range(3))
    # 5,000 a second is all that Discord allows; a busy machine may take several times as long as an idle one.
    assert len(page) / best > 5000


def _seconds(page):
    start = time.process_time()
    for one in page:
        convert.message(one)
        list(convert.reactions(one))
        convert.addressed(one, self_id=ME, self_role=MY_ROLE)
    return time.process_time() - start
