from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.chat import (
    Attachment,
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    GuildId,
    Message,
    MessageId,
    MessageKind,
)
from persona.domain.speaking import ChannelState, Decision, Reason, SpeakingRules, calls_by_name, decide

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ME = Author(id=AuthorId(1), name="pip", display_name="Pip", is_bot=True)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
BEN = Author(id=AuthorId(3), name="ben", display_name="Ben")
ROBOT = Author(id=AuthorId(4), name="robot", display_name="Robot", is_bot=True)

CHANNEL = Channel(id=ChannelId(9), guild_id=GuildId(8), name="general", allowed=True)
TERMINAL = replace(CHANNEL, kind=ChannelKind.TERMINAL)
RULES = SpeakingRules(rate=0.1, active_rate=0.5, names=("Pip", "Pipsqueak"))
HELLO = Message(id=MessageId(100), channel_id=CHANNEL.id, author=ANN, content="hello there", created_at=NOON)
FRESH = ChannelState()


def ask(
    message: Message = HELLO,
    channel: Channel = CHANNEL,
    state: ChannelState = FRESH,
    rules: SpeakingRules = RULES,
    *,
    chance: float = 0.99,
    addressed: bool = False,
    seconds_later: float = 1,
) -> Decision:
    return decide(
        message,
        channel,
        state,
        rules,
        self_id=ME.id,
        now=message.created_at + timedelta(seconds=seconds_later),
        chance=chance,
        addressed=addressed,
    )


def spoke(seconds_ago: float, *, others_since: int = 0) -> ChannelState:
    """Return the state of a channel where the persona spoke some time before `HELLO`."""
    at = NOON - timedelta(seconds=seconds_ago)
    return ChannelState(last_spoke_at=at, humans_since_spoke=others_since, own_ids=(MessageId(50),))


MENTION = replace(HELLO, mentions=(ME,))
REPLY = replace(HELLO, reply_to=MessageId(50))
REPLY_TO_BEN = replace(HELLO, reply_to=MessageId(51))
FILE = Attachment(kind="image", name="cat.png")


@pytest.mark.parametrize(
    ("decision", "speak", "reason"),
    [
        (ask(replace(MENTION, author=ME)), False, Reason.OWN_MESSAGE),
        (ask(replace(MENTION, kind=MessageKind.COMMAND)), False, Reason.NOT_TALK),
        (ask(replace(MENTION, kind=MessageKind.SYSTEM)), False, Reason.NOT_TALK),
        (ask(replace(MENTION, content=" \n")), False, Reason.EMPTY),
        (ask(replace(MENTION, content="", attachments=(FILE,))), True, Reason.MENTIONED),
        (ask(replace(MENTION, author=ROBOT)), False, Reason.BOT),
        (ask(MENTION, replace(CHANNEL, allowed=False)), False, Reason.NOT_ALLOWED),
        (ask(MENTION, rules=replace(RULES, enabled=False)), False, Reason.SWITCHED_OFF),
        (ask(MENTION, state=FRESH.muted(NOON + timedelta(hours=1))), False, Reason.MUTED),
        (ask(MENTION, state=FRESH.muted(NOON)), True, Reason.MENTIONED),
        (ask(MENTION, state=FRESH.muted(NOON + timedelta(hours=1)).muted(None)), True, Reason.MENTIONED),
        (ask(MENTION, seconds_later=601), False, Reason.STALE),
        (ask(MENTION, seconds_later=600), True, Reason.MENTIONED),
        (ask(MENTION, seconds_later=-5), True, Reason.MENTIONED),
        (ask(REPLY, state=spoke(9999)), True, Reason.REPLIED_TO),
        (ask(addressed=True), True, Reason.ADDRESSED),
        (ask(replace(HELLO, content="hey PIP, you up?")), True, Reason.NAMED),
        (ask(MENTION, rules=replace(RULES, mentions_only=True)), True, Reason.MENTIONED),
        (ask(MENTION, state=spoke(1)), True, Reason.MENTIONED),
        (ask(channel=replace(CHANNEL, kind=ChannelKind.DIRECT)), True, Reason.CONVERSATION),
        (ask(channel=TERMINAL), True, Reason.CONVERSATION),
        (ask(channel=TERMINAL, state=spoke(1)), True, Reason.CONVERSATION),
        (ask(channel=TERMINAL, rules=replace(RULES, answer_everything_in_terminal=False)), False, Reason.CHANCE),
        (ask(chance=0, rules=replace(RULES, mentions_only=True)), False, Reason.MENTIONS_ONLY),
        (ask(chance=0), True, Reason.JOINED_IN),
        (ask(chance=0.1), False, Reason.CHANCE),
        # Spoke last: only what plausibly answers it lets it speak again, and not too soon.
        (ask(chance=0, state=spoke(301)), False, Reason.UNANSWERED),
        (ask(REPLY_TO_BEN, chance=0, state=spoke(60)), False, Reason.UNANSWERED),
        (ask(replace(HELLO, mentions=(BEN,)), chance=0, state=spoke(60)), False, Reason.UNANSWERED),
        (ask(chance=0, state=spoke(-1)), False, Reason.UNANSWERED),
        (ask(chance=0, state=spoke(60)), True, Reason.ACTIVE),
        (ask(chance=0, state=spoke(301, others_since=1)), True, Reason.JOINED_IN),
        (ask(chance=0, state=spoke(28)), False, Reason.COOLDOWN),
        (ask(chance=0, state=spoke(28, others_since=3)), False, Reason.COOLDOWN),
        (ask(chance=0, state=spoke(29)), True, Reason.ACTIVE),
        # Part of a talk: more readily, until it moves on or is meant for somebody else.
        (ask(chance=0.49, state=spoke(60, others_since=5)), True, Reason.ACTIVE),
        (ask(chance=0.5, state=spoke(60, others_since=5)), False, Reason.CHANCE),
        (ask(chance=0.49, state=spoke(60, others_since=6)), False, Reason.CHANCE),
        (ask(REPLY_TO_BEN, chance=0.49, state=spoke(60, others_since=1)), False, Reason.CHANCE),
        (ask(chance=0.49, state=spoke(400, others_since=1)), False, Reason.CHANCE),
        (ask(chance=0, state=spoke(60, others_since=1), rules=replace(RULES, rate=0)), False, Reason.CHANCE),
        (ask(chance=0.6, state=spoke(60), rules=replace(RULES, rate=0.7)), True, Reason.ACTIVE),
    ],
)
def test_decisions(decision: Decision, speak: bool, reason: Reason) -> None:
    assert (decision.speak, decision.reason) == (speak, reason)


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (ask(MENTION), "It speaks because Ann mentioned it."),
        (ask(replace(HELLO, content="pip!")), "It speaks because Ann called it by its name, Pip."),
        (
            ask(MENTION, seconds_later=900),
            "It keeps quiet because the message is 900 s old and it answers nothing older than 600 s.",
        ),
        (
            ask(channel=replace(CHANNEL, allowed=False)),
            "It keeps quiet because #general is not on the list of allowed channels.",
        ),
        (
            ask(state=spoke(4, others_since=1)),
            "It keeps quiet because it spoke 5 s ago and waits 30 s before it joins in again.",
        ),
        (ask(), "It keeps quiet because nobody spoke to it and it joins in unasked only 10% of the time."),
        (
            ask(rules=replace(RULES, rate=0)),
            "It keeps quiet because nobody spoke to it and it is set never to join in unasked.",
        ),
        (
            ask(chance=0, state=spoke(60)),
            "It speaks because it is part of this talk, where it joins in 50% of the time.",
        ),
        (
            ask(MENTION, state=FRESH.muted(NOON + timedelta(hours=1))),
            "It keeps quiet because it is muted here until 2026-01-01 13:00:00 UTC.",
        ),
    ],
)
def test_every_decision_is_one_plain_sentence(decision: Decision, sentence: str) -> None:
    assert decision.explain() == sentence


@pytest.mark.parametrize(
    "content",
    [
        "pip",
        "Pip?",
        "hi PIP!",
        "so...pip",
        "@pip yo",
        "(pip)",
        "pip's right",
        "**pip**",
        "ask pip.",
        "pipsqueak, hi",
        "\uff30\uff29\uff30",
        "pip: hi",
        "yes,pip",
        "ok pip\nbye",
    ],
)
def test_called_by_name(content: str) -> None:
    assert calls_by_name(content, RULES.names) is not None


@pytest.mark.parametrize(
    "content",
    [
        "pipe",
        "apip",
        "pip-boy",
        "pip.install",
        "x-pip",
        "`pip install`",
        "```\npip\n```",
        "https://pip.org/pip",
        "<:pip:123>",
        ":pip:",
        "<@5> pipping",
        "pip_x",
        "a/pip",
        "",
        "pi p",
    ],
)
def test_not_called_by_name(content: str) -> None:
    assert calls_by_name(content, RULES.names) is None


def test_an_empty_name_calls_nobody() -> None:
    assert calls_by_name("hello", ("", " ")) is None


def test_names_are_no_patterns() -> None:
    assert calls_by_name("hi c.3", ("c.3",)) == "c.3"
    assert calls_by_name("hi cx3", ("c.3",)) is None


def test_the_state_follows_what_is_said() -> None:
    own = replace(HELLO, id=MessageId(101), author=ME)
    state = FRESH.after(HELLO, self_id=ME.id)
    assert (state.humans_since_spoke, state.last_spoke_at) == (1, None)
    state = state.after(own, self_id=ME.id)
    assert (state.humans_since_spoke, state.last_spoke_at, state.own_ids) == (0, NOON, (own.id,))
    assert state.after(own, self_id=ME.id) == state
    state = state.after(replace(HELLO, id=MessageId(102), author=ROBOT), self_id=ME.id)
    state = state.after(replace(HELLO, id=MessageId(103), kind=MessageKind.SYSTEM), self_id=ME.id)
    assert state.humans_since_spoke == 0
    state = state.after(replace(HELLO, id=MessageId(104)), self_id=ME.id)
    assert state.humans_since_spoke == 1
    assert state.after(replace(HELLO, id=MessageId(104)), self_id=ME.id) == state


def test_setting_out_to_speak_counts_as_having_spoken() -> None:
    state = FRESH.after(HELLO, self_id=ME.id).after_reply(NOON)
    assert ask(chance=0, state=state, seconds_later=5).reason is Reason.COOLDOWN
    late = state.after(replace(HELLO, id=MessageId(7), author=ME, created_at=NOON - timedelta(hours=1)), self_id=ME.id)
    assert late.last_spoke_at == NOON


def test_a_state_does_not_grow_without_end() -> None:
    state = FRESH
    for number in range(500):
        state = state.after(replace(HELLO, id=MessageId(number), author=ME), self_id=ME.id)
    assert len(state.own_ids) == len(state.seen_ids) == 64
    assert state.own_ids[-1] == 499


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_are_probabilities(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate = .* is outside 0..1"):
        SpeakingRules(rate=rate)
    with pytest.raises(ValueError, match=r"active_rate = .* is outside 0..1"):
        SpeakingRules(active_rate=rate)


PROBABILITY = st.floats(0, 1, allow_nan=False)
IDS = st.integers(40, 60).map(MessageId)
MESSAGES = st.builds(
    Message,
    id=st.just(MessageId(100)),
    channel_id=st.just(CHANNEL.id),
    author=st.sampled_from([ANN, BEN, ROBOT, ME]),
    content=st.one_of(st.text(max_size=20), st.sampled_from(["pip?", "hello", "`pip`"])),
    created_at=st.integers(-2000, 10).map(lambda seconds: NOON + timedelta(seconds=seconds)),
    kind=st.sampled_from(MessageKind),
    reply_to=st.one_of(st.none(), IDS),
    mentions=st.lists(st.sampled_from([ANN, BEN, ME]), max_size=2).map(tuple),
)
STATES = st.builds(
    ChannelState,
    last_spoke_at=st.one_of(st.none(), st.integers(-2000, 10).map(lambda seconds: NOON + timedelta(seconds=seconds))),
    humans_since_spoke=st.integers(0, 9),
    own_ids=st.lists(IDS, max_size=3).map(tuple),
    muted_until=st.one_of(st.none(), st.integers(-50, 50).map(lambda seconds: NOON + timedelta(seconds=seconds))),
)
CHANNELS = st.builds(
    Channel,
    id=st.just(CHANNEL.id),
    guild_id=st.just(CHANNEL.guild_id),
    name=st.text(max_size=5),
    kind=st.sampled_from(ChannelKind),
    allowed=st.booleans(),
)
ALL_RULES = st.builds(
    SpeakingRules,
    enabled=st.booleans(),
    rate=PROBABILITY,
    active_rate=PROBABILITY,
    active_minutes=st.floats(0, 60),
    cooldown_seconds=st.floats(0, 600),
    mentions_only=st.booleans(),
    names=st.just(("pip",)),
    answer_everything_in_terminal=st.booleans(),
)
MEANT_FOR_IT = {Reason.REPLIED_TO, Reason.MENTIONED, Reason.ADDRESSED, Reason.NAMED, Reason.CONVERSATION}
CHANCES = st.floats(0, 1, exclude_max=True)


SITUATIONS = st.tuples(MESSAGES, CHANNELS, STATES, ALL_RULES, CHANCES)
Situation = tuple[Message, Channel, ChannelState, SpeakingRules, float]


def _decide(situation: Situation, *, addressed: bool = False) -> Decision:
    message, channel, state, rules, chance = situation
    return decide(message, channel, state, rules, self_id=ME.id, now=NOON, chance=chance, addressed=addressed)


@given(SITUATIONS)
def test_it_always_answers_when_spoken_to_where_it_may(situation: Situation) -> None:
    message, channel, state, rules, _ = situation
    may = (
        not message.author.is_bot
        and message.is_talk
        and bool(message.content.strip())
        and channel.allowed
        and rules.enabled
        and (state.muted_until is None or state.muted_until <= NOON)
        and (NOON - message.created_at).total_seconds() <= rules.max_age_seconds
    )
    assert _decide(situation, addressed=True).speak is may


@given(SITUATIONS, st.booleans())
def test_it_never_answers_bots_nor_speaks_where_it_may_not(situation: Situation, addressed: bool) -> None:
    decision = _decide(situation, addressed=addressed)
    message, channel, _, rules, _ = situation
    if decision.speak:
        assert not message.author.is_bot
        assert channel.allowed
        assert rules.enabled
    assert decision.explain().count("\n") == 0
    assert decision.explain().endswith(".")


@given(SITUATIONS)
def test_at_rate_zero_it_never_joins_in(situation: Situation) -> None:
    message, channel, state, rules, chance = situation
    decision = _decide((message, channel, state, replace(rules, rate=0), chance))
    assert not decision.speak or decision.reason in MEANT_FOR_IT


@given(SITUATIONS, PROBABILITY, PROBABILITY)
def test_a_higher_rate_or_a_luckier_draw_never_silences_it(
    situation: Situation, rate: float, active_rate: float
) -> None:
    message, channel, state, rules, chance = situation
    if _decide(situation).speak:
        livelier = replace(rules, rate=max(rules.rate, rate), active_rate=max(rules.active_rate, active_rate))
        assert _decide((message, channel, state, livelier, chance)).speak
        assert _decide((message, channel, state, rules, chance / 2)).speak


@given(SITUATIONS)
def test_at_rate_one_only_the_rules_silence_it(situation: Situation) -> None:
    message, channel, state, rules, chance = situation
    decision = _decide((message, channel, state, replace(rules, rate=1), chance))
    assert decision.speak or decision.reason is not Reason.CHANCE
