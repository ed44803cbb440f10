"""Gateway payloads, fed to a real client's parsers, come out as transport events in the same order."""

import asyncio
from datetime import UTC, datetime

import pytest
import yarl

from persona.adapters.discord.client import PersonaClient
from persona.adapters.discord.events import Ears
from persona.adapters.discord.options import DiscordOptions
from persona.adapters.discord.people import People
from persona.adapters.discord.places import Places
from persona.domain.chat import ChannelKind, MessageKind, snowflake_at
from persona.domain.commands import Caller, Invocation, Via
from persona.ports import (
    Arrival,
    ChannelGone,
    ChannelSeen,
    CommandInvoked,
    Edited,
    LinkDown,
    LinkUp,
    Reacted,
    ReactionsCleared,
    Removed,
)

NOW = datetime(2024, 5, 6, tzinfo=UTC)
ME = {"id": "99", "username": "persona", "discriminator": "0", "avatar": None, "bot": True}
ANN = {"id": "11", "username": "ann", "global_name": "Ann", "discriminator": "0", "avatar": None}
READ = 1024 | 65536
GUILD, GENERAL, STAFF, FORUM, THREAD, MY_ROLE = 1, 5, 6, 7, 50, 3


def role(number, name, bits, **more):
    shown = {"color": 0, "hoist": False, "managed": False, "mentionable": False, "position": 0}
    return {"id": str(number), "name": name, "permissions": str(bits), **shown, **more}


def channel(number, name, kind=0, overwrites=()):
    return {"id": str(number), "type": kind, "name": name, "position": 0, "permission_overwrites": list(overwrites)}


def thread(number, parent, name="a thread", kind=11, archived=False):
    state = {"archived": archived, "auto_archive_duration": 60, "archive_timestamp": "2024-01-01T00:00:00+00:00"}
    more = {"owner_id": "11", "thread_metadata": state, "message_count": 0, "member_count": 1, "guild_id": str(GUILD)}
    return {"id": str(number), "parent_id": str(parent), "type": kind, "name": name, **more}


def guild():
    return {
        "id": str(GUILD),
        "name": "The Server",
        "owner_id": "11",
        "unavailable": False,
        "member_count": 2,
        "roles": [
            role(GUILD, "@everyone", READ),
            role(2, "staff", 0),
            role(MY_ROLE, "persona", 0, managed=True, tags={"bot_id": ME["id"]}),
        ],
        "channels": [
            {"id": "4", "type": 4, "name": "talk", "position": 0, "permission_overwrites": []},
            {**channel(GENERAL, "general"), "topic": "this and that"},
            channel(STAFF, "staff", overwrites=[{"id": str(GUILD), "type": 0, "allow": "0", "deny": "1024"}]),
            {**channel(FORUM, "ideas", kind=15), "available_tags": []},
        ],
        "threads": [thread(THREAD, GENERAL)],
        "emojis": [],
        "stickers": [],
        "features": [],
        "voice_states": [],
        "members": [{"user": ME, "roles": [str(MY_ROLE)], "joined_at": "2024-01-01T00:00:00+00:00", "flags": 0}],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "joined_at": "2024-01-01T00:00:00+00:00",
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "nsfw_level": 0,
        "large": False,
        "system_channel_flags": 0,
        "afk_timeout": 300,
        "premium_progress_bar_enabled": False,
    }


def message(number=0, **more):
    fields = {"channel_id": str(GENERAL), "guild_id": str(GUILD), "type": 0, "author": ANN, "content": "hello"}
    lists = {"mentions": [], "attachments": [], "embeds": [], "mention_roles": []}
    return {"id": str(snowflake_at(NOW, number)), **fields, **lists, "member": {"nick": "Annie", "roles": []}, **more}


def heard(*events, ready=True, allowed=lambda _channel, _parent: True, wait=0.0, guild_wait=5.0):
    """Feed events to a client and return what came out; `(name, payload)` each, or a call to make."""

    async def run():
        out = []
        client = PersonaClient(
            options=DiscordOptions(),
            gateway=yarl.URL("wss://nowhere.invalid/"),
            shards=None,
            setup=_nothing,
            before_session=_nothing,
        )
        ears = Ears(
            client,
            emit=out.append,
            known=Places(allowed),
            people=People(),
            command=lambda payload, channel, _guild: _invoked(channel) if payload["content"] == "!help" else None,
            is_command=lambda text: text == "!help",
            guild_wait_seconds=guild_wait,
            now=lambda: NOW,
        )
        ears.attach()
        parsers = client._connection.parsers
        if ready:
            parsers["READY"](_hello(GUILD))
            parsers["GUILD_CREATE"](guild())
        for event in events:
            if callable(event):
                event(ears)
            else:
                parsers[event[0]](event[1])
        await asyncio.sleep(wait)
        ears.close()
        await client.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # discord.py's own wait for servers
        return out[1:] if ready else out

    return asyncio.run(run())


def _hello(*guilds):
    waiting = [{"id": str(number), "unavailable": True} for number in guilds]
    return {"user": ME, "session_id": "s", "guilds": waiting, "application": {"id": "98", "flags": 0}}


def _invoked(channel):
    caller = Caller(author=None)
    return CommandInvoked(invocation=Invocation(id=1, command="help", caller=caller, channel=channel, via=Via.PREFIX))


async def _nothing(*_):
    pass


def test_it_is_up_once_the_servers_have_come_and_says_so_once():
    up = LinkUp(resumed=False, self_id=99)
    assert heard(("READY", _hello(GUILD)), ready=False) == []
    assert heard(("READY", _hello(GUILD)), ("GUILD_CREATE", guild()), ready=False, wait=0.05, guild_wait=0.01) == [up]
    assert heard(("READY", _hello(GUILD, 2)), ("GUILD_CREATE", guild()), ready=False, wait=0.1, guild_wait=0.01) == [up]
    assert heard(("READY", _hello()), ready=False) == [up]


def test_lost_resumed_and_begun_anew():
    down = LinkDown(reason="cut")

    def cut(ears):
        ears.lost(None, "cut")

    resumed = ("RESUMED", {"__shard_id__": None})
    assert heard(cut, cut, resumed) == [down, LinkUp(resumed=True, self_id=99)]
    again = [("READY", _hello(GUILD)), ("GUILD_CREATE", guild())]
    assert heard(cut, *again) == [down, LinkUp(resumed=False, self_id=99)]
    assert heard(cut, resumed, cut) == [down, LinkUp(resumed=True, self_id=99), down]


def test_a_server_back_from_an_outage_may_have_lost_something():
    outage = ("GUILD_DELETE", {"id": str(GUILD), "unavailable": True})
    assert heard(outage, ("GUILD_CREATE", guild())) == [LinkUp(resumed=False, self_id=99)]


def test_a_message_arrives_with_its_channel_and_its_authors_nick():
    (arrival,) = heard(("MESSAGE_CREATE", message()))
    assert isinstance(arrival, Arrival)
    assert (arrival.channel.name, arrival.channel.guild_name, arrival.channel.topic) == (
        *("general", "The Server"),
        "this and that",
    )
    assert arrival.message.author.display_name == "Annie"
    assert arrival.channel.allowed
    assert not arrival.addressed
    assert arrival.self_id == 99
    assert arrival.live


def test_the_nick_heard_live_is_known_later():
    first, second = heard(("MESSAGE_CREATE", message()), ("MESSAGE_CREATE", message(1, member=None)))
    assert second.message.author == first.message.author


@pytest.mark.parametrize(
    ("fields", "addressed"),
    [
        ({"mentions": [ME]}, True),
        ({"mention_roles": [str(MY_ROLE)]}, True),
        ({"mention_roles": ["2"]}, False),
        ({"mention_everyone": True, "content": "@everyone"}, False),
        ({"type": 19, "message_reference": {"message_id": "7"}, "referenced_message": {"author": ME}}, True),
    ],
)
def test_who_is_addressed(fields, addressed):
    (arrival,) = heard(("MESSAGE_CREATE", message(**fields)))
    assert arrival.addressed is addressed


def test_a_thread_follows_its_parent_on_the_allow_list():
    asked = []

    def allowed(channel_id, parent_id):
        asked.append((channel_id, parent_id))
        return parent_id == GENERAL

    (arrival,) = heard(("MESSAGE_CREATE", message(channel_id=str(THREAD))), allowed=allowed)
    assert (arrival.channel.kind, arrival.channel.parent_id, arrival.channel.allowed) == (
        ChannelKind.THREAD,
        GENERAL,
        True,
    )
    assert (THREAD, GENERAL) in asked


def test_an_archived_thread_is_still_known():
    archived = ("THREAD_UPDATE", thread(THREAD, GENERAL, archived=True))
    seen, arrival = heard(archived, ("MESSAGE_CREATE", message(channel_id=str(THREAD))))
    assert isinstance(seen, ChannelSeen)
    assert arrival.channel == seen.channel


def test_a_direct_message_is_never_allowed():
    (arrival,) = heard(("MESSAGE_CREATE", {k: v for k, v in message().items() if k not in {"guild_id", "member"}}))
    assert (arrival.channel.kind, arrival.channel.guild_id, arrival.channel.allowed) == (ChannelKind.DIRECT, 0, False)
    assert arrival.channel.name == "ann"


def test_a_command_is_heard_as_such_and_is_no_talk():
    arrival, invoked = heard(("MESSAGE_CREATE", message(content="!help")))
    assert arrival.message.kind is MessageKind.COMMAND
    assert isinstance(invoked, CommandInvoked)
    assert invoked.invocation.channel == arrival.channel


def test_a_message_that_makes_no_sense_does_not_stop_the_next_one():
    (arrival,) = heard(("MESSAGE_CREATE", {"id": "1", "guild_id": "1"}), ("MESSAGE_CREATE", message()))
    assert arrival.message.content == "hello"


def test_edits_but_not_unfolding_links():
    base = {"id": "8", "channel_id": "5", "guild_id": "1"}
    (edited,) = heard(
        ("MESSAGE_UPDATE", {**base, "embeds": [{"title": "a page"}]}),
        ("MESSAGE_UPDATE", message(edited_timestamp=None)),
        ("MESSAGE_UPDATE", {**base, "content": "new", "edited_timestamp": "2024-05-06T01:00:00+00:00"}),
    )
    assert isinstance(edited, Edited)
    assert (edited.edit.message_id, edited.edit.content) == (8, "new")


def test_an_edit_that_makes_no_sense_does_not_stop_the_next_one():
    edited = {"content": "new", "edited_timestamp": "2024-05-06T01:00:00+00:00"}
    nonsense = ({"mentions": [{"id": "x"}]}, {"attachments": [7]}, {"edited_timestamp": "yesterday"}, {"id": None})
    (heard_of,) = heard(
        *(("MESSAGE_UPDATE", message(**{**edited, "embeds": [], "attachments": [], **one})) for one in nonsense),
        ("MESSAGE_UPDATE", message(**edited, mentions=[], attachments=[], embeds=[])),
    )
    assert (heard_of.edit.content, heard_of.edit.mentions, heard_of.edit.attachments) == ("new", (), ())


def test_deletions_one_by_one_and_in_bulk():
    assert heard(
        ("MESSAGE_DELETE", {"id": "8", "channel_id": "5", "guild_id": "1"}),
        ("MESSAGE_DELETE_BULK", {"ids": ["8", "9"], "channel_id": "5", "guild_id": "1"}),
    ) == [Removed(channel_id=5, message_ids=(8,), at=NOW), Removed(channel_id=5, message_ids=(8, 9), at=NOW)]


def test_reactions():
    base = {"user_id": "11", "channel_id": "5", "message_id": "8", "guild_id": "1"}
    wave, thumb = {"id": "77", "name": "wave"}, {"id": None, "name": "👍"}
    assert heard(
        ("MESSAGE_REACTION_ADD", {**base, "emoji": wave}),
        ("MESSAGE_REACTION_REMOVE", {**base, "emoji": thumb}),
        ("MESSAGE_REACTION_REMOVE_EMOJI", {**base, "emoji": wave}),
        ("MESSAGE_REACTION_REMOVE_ALL", base),
    ) == [
        Reacted(channel_id=5, message_id=8, emoji=":wave:", change=1),
        Reacted(channel_id=5, message_id=8, emoji="👍", change=-1),
        ReactionsCleared(channel_id=5, message_id=8, emoji=":wave:"),
        ReactionsCleared(channel_id=5, message_id=8, emoji=None),
    ]


def test_channels_and_threads_come_and_go():
    new = {**channel(8, "new"), "guild_id": "1"}
    events = heard(
        ("CHANNEL_CREATE", new),
        ("CHANNEL_UPDATE", {**new, "name": "newer"}),
        ("THREAD_CREATE", {**thread(60, 8, "a post"), "newly_created": True}),
        ("THREAD_LIST_SYNC", {"guild_id": "1", "threads": [thread(61, 8)], "members": []}),
        ("THREAD_DELETE", {"id": "61", "guild_id": "1", "parent_id": "8", "type": 11}),
        ("CHANNEL_DELETE", new),
    )
    seen = [(event.channel.id, event.channel.name) for event in events if isinstance(event, ChannelSeen)]
    assert seen == [(8, "new"), (8, "newer"), (60, "a post"), (61, "a thread")]
    assert [event.channel_id for event in events if isinstance(event, ChannelGone)] == [61, 60, 8]


def test_a_category_is_no_channel():
    assert heard(("CHANNEL_CREATE", {**channel(9, "more", kind=4), "guild_id": "1"})) == []


def test_rights_bring_channels_into_sight_and_take_them_out():
    open_staff = {**channel(STAFF, "staff"), "guild_id": "1"}
    shut_general = {**channel(GENERAL, "general"), "guild_id": "1"}
    shut_general["permission_overwrites"] = [{"id": str(GUILD), "type": 0, "allow": "0", "deny": "65536"}]
    events = heard(("CHANNEL_UPDATE", open_staff), ("CHANNEL_UPDATE", shut_general))
    assert [event.channel.id for event in events[:2]] == [STAFF, GENERAL]
    assert events[2:] == [ChannelGone(channel_id=GENERAL)]
    admin = role(MY_ROLE, "persona", 8, managed=True, tags={"bot_id": ME["id"]})
    (seen,) = heard(("GUILD_ROLE_UPDATE", {"guild_id": "1", "role": admin}))
    assert seen.channel.id == STAFF


def test_leaving_a_server_takes_all_its_channels_along():
    events = heard(("GUILD_DELETE", {"id": str(GUILD)}))
    assert {event.channel_id for event in events} == {GENERAL, STAFF, FORUM, THREAD}


def test_an_error_in_a_parser_is_not_swallowed():
    with pytest.raises(KeyError):
        heard(("MESSAGE_DELETE", {"channel_id": "5"}))
