import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from persona.domain.markup import WORD_JOINER, break_pings, plain, prose, readable, to_discord

PEOPLE = {1: "Ann", 22: "Ann Lee", 333: "böB", 4: "mr. <b>\nx"}
CHANNELS = {5: "general", 6: "off-topic"}
ROLES = {7: "mods"}
EMOJI = {"wave": 8, "party_cat": 9, "a": 10}

# Pieces that markup is made of, so that random texts contain, nest and almost contain it.
PIECES = st.sampled_from(
    [
        *("<@1>", "<@!22>", "<@999>", "<@&7>", "<@&70>", "<#5>", "<#50>", "<:wave:8>", "<a:party_cat:9>", "<t:0:R>"),
        *("<t:99999999999999999>", "<t:-62135596800:S>", "</rank up:12>", "<id:guide>", "<", ">", "<a", "<:", ":", "`"),
        *(
            "```",
            "``",
            "\n",
            " ",
            "@",
            "#",
            "@Ann",
            "@ann lee",
            "#general",
            ":wave:",
            ":a:",
            "@everyone",
            "@here",
            "<@",
        ),
        *(
            "&",
            "5",
            "R>",
            "https://x.org/a_b/@Ann/:wave:",
            "<https://x.org>",
            "\\",
            "*",
            "**",
            "_",
            "||",
            "~~",
            "é",
            "x",
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=25).map("".join))
NAMES = st.one_of(st.text(max_size=12), st.lists(PIECES, max_size=3).map("".join))
PING = re.compile(r"@everyone|@here|<@&[0-9]+>|<@!?[0-9]+>", re.IGNORECASE)


def _readable(text: str) -> str:
    return readable(text, people=PEOPLE, channels=CHANNELS, roles=ROLES)


def _to_discord(text: str) -> str:
    people = {name: number for number, name in PEOPLE.items()}
    channels = {name: number for number, name in CHANNELS.items()}
    return to_discord(text, people=people, channels=channels, emoji=EMOJI, animated={"party_cat"})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hi <@1>, <@!22>!", "hi @Ann, @Ann Lee!"),
        ("<@999> <@&70> <#50>", "@someone @role #channel"),
        ("<@&7> in <#6>", "@mods in #off-topic"),
        ("<@4>", "@mr. b x"),
        ("<:wave:8><a:party_cat:9>", ":wave::party_cat:"),
        ("<t:1618953630:t>", "21:20 UTC"),
        ("<t:1618953630:T>", "21:20:30 UTC"),
        ("<t:1618953630:d>|<t:1618953630:D>", "2021-04-20|2021-04-20"),
        ("<t:1618953630>|<t:1618953630:f>|<t:1618953630:R>", "|".join(["2021-04-20 21:20 UTC"] * 3)),
        ("<t:-62135596800:d>", "0001-01-01"),
        ("<t:8640000000000>", "some time"),
        ("</rank up:12> <id:customize>", "/rank up #customize"),
        ("`<@1>` <@1> ```py\n<:wave:8>```", "`<@1>` @Ann ```py\n<:wave:8>```"),
        ("``a ` <@1>`` <@1>", "``a ` <@1>`` @Ann"),
        ("an unclosed ` <@1>", "an unclosed ` @Ann"),
        ("escaped \\`<@1>`", "escaped \\`@Ann`"),
        ("<@> <@x> <#> <:a:> <t:x> 1 < 2 > 0", "<@> <@x> <#> <:a:> <t:x> 1 < 2 > 0"),
        ("<<:a:1>5>", f"<{WORD_JOINER}:a:5>"),
    ],
)
def test_readable(content: str, expected: str) -> None:
    assert _readable(content) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hey @ann and @Ann Lee", "hey <@1> and <@22>"),
        ("@annie mail@ann.org @BÖB", "@annie mail@ann.org <@333>"),
        ("see #general, #off-topic and #general-2", "see <#5>, <#6> and #general-2"),
        (":wave::party_cat: :nope:", "<:wave:8><a:party_cat:9> :nope:"),
        ("@everyone @Here @heretic", f"@{WORD_JOINER}everyone @{WORD_JOINER}Here @{WORD_JOINER}heretic"),
        ("<@&7> <@1> <@999>", f"<{WORD_JOINER}@&7> <@1> <{WORD_JOINER}@999>"),
        ("`@Ann` https://x.org/@Ann/:wave: @Ann", "`@Ann` https://x.org/@Ann/:wave: <@1>"),
        ("```\n@everyone```", f"```\n@{WORD_JOINER}everyone```"),
    ],
)
def test_to_discord(text: str, expected: str) -> None:
    assert _to_discord(text) == expected


def test_people_called_everyone_are_not_a_way_to_ping() -> None:
    sent = to_discord("@everyone @here", people={"everyone": 1, "Here": 2}, channels={}, emoji={})
    assert PING.search(sent) is None


@given(TEXTS)
@example("<t<:55:1>R>")
@example("<<@1>>")
def test_readable_twice_is_readable_once(text: str) -> None:
    once = _readable(text)
    assert _readable(once) == once


@given(TEXTS, NAMES, NAMES)
def test_hostile_names_cannot_smuggle_markup_in(text: str, person: str, channel: str) -> None:
    once = readable(text, people={1: person, 999: "5"}, channels={5: channel})
    assert readable(once, people={5: "caught", 8: "caught"}, channels={5: "caught"}) == once


@given(TEXTS)
def test_to_discord_twice_is_to_discord_once(text: str) -> None:
    once = _to_discord(text)
    assert _to_discord(once) == once


@given(TEXTS, NAMES)
def test_nothing_but_known_people_is_pinged(text: str, name: str) -> None:
    sent = to_discord(text, people={name: 1}, channels={name: 5}, emoji={name: 8})
    assert {found for found in PING.findall(sent) if found not in {"<@1>", "<@!1>"}} == set()
    assert PING.search(break_pings(text)) is None


@given(TEXTS)
def test_breaking_pings_adds_nothing_visible(text: str) -> None:
    assert break_pings(text).replace(WORD_JOINER, "") == text.replace(WORD_JOINER, "")


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["<@1>", "<@22>", "<@333>", "<#5>", "<#6>", "<:wave:8>", "<a:party_cat:9>", "`@Ann`"]),
            st.text(string.ascii_letters + ".,!?", min_size=1),
        )
    ).map(" ".join)
)
def test_known_markup_comes_back(content: str) -> None:
    assert _to_discord(_readable(content)) == content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**so** _very_ ~~un~~likely ||spoiler||", "so very unlikely spoiler"),
        ("snake_case stays, __dunder__ does not", "snake_case stays, dunder does not"),
        ("```py\nprint(1)\n``` and `x = 2`", "py print(1) and x 2"),
        ("[the docs](https://www.docs.org:80/en/user-guide/12ab?q=1#top)", "the docs docs.org en user guide"),
        ("<@1> <@&7> <#5> hi <:party_cat:9> </rank up:3>", "hi party_cat rank up"),
        ("> # quoted\n- at 12:30 :wave: -> :)", "quoted at 12:30 wave"),
        ("", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(TEXTS)
@example("ht*tps://x.org/a")
@example("ht\\tps:||//x.org/a")
def test_plain_twice_is_plain_once(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    assert "\n" not in once


@given(st.lists(st.text(string.ascii_lowercase, min_size=1), max_size=8))
def test_plain_keeps_every_word(words: list[str]) -> None:
    assert plain(" **".join(words)).split() == words


def test_prose_holds_only_what_was_said() -> None:
    assert prose("pip `pip` <@1> https://x.org/pip <:pip:3> ```\npip```!").split() == ["pip", "!"]
