"""Translates between Discord's markup and the text that people and models read."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from persona.domain.chat import AuthorId, ChannelId

WORD_JOINER = "\u2060"
"""An invisible character that breaks a ping or a markup without changing how it looks."""

SOMEONE = "someone"
SOME_ROLE = "role"
SOME_CHANNEL = "channel"

_CODE = r"(?P<code>(?<![`\\])(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
_MARKUP = (
    r"<@!?(?P<user>[0-9]{1,20})>"
    r"|<@&(?P<role>[0-9]{1,20})>"
    r"|<#(?P<channel>[0-9]{1,20})>"
    r"|<a?:(?P<emoji>\w{1,32}):[0-9]{1,20}>"
    r"|<t:(?P<seconds>-?[0-9]{1,20})(?::(?P<style>[tTdDfFsSR]))?>"
    r"|</(?P<command>[-\w ]{1,100}):[0-9]{1,20}>"
    r"|<id:(?P<place>[-\w]{1,32})(?::[0-9]{1,20})?>"
)
_URL = r"(?P<url>[hH][tT]{2}[pP][sS]?://[^\s<>]+)"
_CODE_OR_MARKUP = re.compile(f"{_CODE}|{_MARKUP}", re.DOTALL)
_NOT_PROSE = re.compile(f"{_CODE}|{_MARKUP}|{_URL}", re.DOTALL)
_MARKUP_ONLY = re.compile(_MARKUP)
_URL_ONLY = re.compile(_URL)
_EVERYONE = re.compile(r"@(?=everyone|here)", re.IGNORECASE)
_MENTION = re.compile(r"<(?=@(?P<kind>[!&]?)(?P<id>[0-9]{1,20})>)")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_FORMATS = {"t": "%H:%M UTC", "T": "%H:%M:%S UTC", "d": "%Y-%m-%d", "D": "%Y-%m-%d", "S": "%Y-%m-%d %H:%M:%S UTC"}
_DEFAULT_TIME_FORMAT = "%Y-%m-%d %H:%M UTC"
_LONGEST_LINK_WORD = 24


def readable(
    content: str,
    *,
    people: Mapping[int, str] | Mapping[AuthorId, str],
    channels: Mapping[int, str] | Mapping[ChannelId, str] | None = None,
    roles: Mapping[int, str] | None = None,
) -> str:
    """Return a message's text as a reader sees it; code stays untouched.

    `<@1>` becomes `@name`, `<@&1>` `@role`, `<#1>` `#channel`, `<:wave:1>` `:wave:`, `<t:0:d>` a date in UTC,
    `</rank:1>` `/rank`. Ids that the mappings do not know become `@someone`, `@role` and `#channel`. Doing it twice
    changes nothing. The markup: https://discord.com/developers/docs/reference#message-formatting
    """
    if "<" not in content:  # most messages
        return content

    def word(found: re.Match[str]) -> str:
        if user := found["user"]:
            return "@" + label(people.get(AuthorId(int(user)), ""), SOMEONE)
        if role := found["role"]:
            return "@" + label((roles or {}).get(int(role), ""), SOME_ROLE)
        if channel := found["channel"]:
            return "#" + label((channels or {}).get(ChannelId(int(channel)), ""), SOME_CHANNEL)
        return _word(found)

    # What a replacement and its neighbours happen to form (`<<:a:1>5>`) is broken, or a second pass would read it.
    return _CODE_OR_MARKUP.sub(_break_markup, _CODE_OR_MARKUP.sub(word, content))


def to_discord(
    text: str,
    *,
    people: Mapping[str, int],
    channels: Mapping[str, int],
    emoji: Mapping[str, int],
    animated: Collection[str] = (),
) -> str:
    """Return readable text as Discord markup: the way back from `readable`, for what is known by name.

    `@name` and `#channel` become mentions when the mappings hold the name (any case), `:wave:` becomes the server's
    emoji (`animated` names those that move); everything else stays text. Code and links stay untouched. The result
    pings nobody but `people`: `@everyone`, `@here`, roles and unknown ids are broken by an invisible character.
    """
    users = {label(name, "").casefold(): user for name, user in people.items()}
    places = {label(name, "").casefold(): channel for name, channel in channels.items()}
    pictures = {name: number for name, number in emoji.items() if re.fullmatch(r"\w{1,32}", name)}
    for everyone in ("", "everyone", "here"):
        users.pop(everyone, None)
    places.pop("", None)
    parts = [f"{_CODE}|{_MARKUP}|{_URL}"]
    if users:
        parts.append(rf"(?<![\w>])@(?P<at>(?i:{_one_of(users)}))(?!\w)")
    if places:
        parts.append(rf"(?<![\w>&/])#(?P<hash>(?i:{_one_of(places)}))(?![-\w])")
    if pictures:
        parts.append(rf"(?<!<)(?<!<a):(?P<colon>{_one_of(pictures)}):")

    def markup(found: re.Match[str]) -> str:
        match found.lastgroup:
            case "at" if (user := users.get(found["at"].casefold())) is not None:
                return f"<@{user}>"
            case "hash" if (place := places.get(found["hash"].casefold())) is not None:
                return f"<#{place}>"
            case "colon":
                name = found["colon"]
                return f"<{'a' if name in animated else ''}:{name}:{pictures[name]}>"
        return found[0]

    return break_pings(re.sub("|".join(parts), markup, text, flags=re.DOTALL), known=users.values())


def break_pings(text: str, *, known: Collection[int] = ()) -> str:
    """Make `@everyone`, `@here`, mentions of roles and of users not in `known` harmless by an invisible character."""

    def harmless(found: re.Match[str]) -> str:
        return "<" if found["kind"] != "&" and int(found["id"]) in known else "<" + WORD_JOINER

    return _EVERYONE.sub("@" + WORD_JOINER, _MENTION.sub(harmless, text))


def prose(content: str) -> str:
    """Return a message without its code, links, mentions and custom emoji: what was said in words."""
    return _NOT_PROSE.sub(" ", content)


def plain(text: str) -> str:
    """Return a message as bare words on one line, for a search index.

    Formatting marks go, code keeps its words, a link keeps its host and the words of its path, a custom emoji its
    name; mentions by id and stray punctuation go. Doing it twice changes nothing.
    """
    words = _MARKUP_ONLY.sub(lambda found: f" {found['emoji'] or found['command'] or ''} ", text)
    words = re.sub(r"[*~]", "", words)
    words = re.sub(r"[`|<>\\\[\]]", " ", words)
    words = _URL_ONLY.sub(lambda found: f" {_link_words(found['url'])} ", words)
    words = re.sub(r"(?<![0-9]):|:(?![0-9])", " ", words)
    words = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", "", words)
    return " ".join(word for word in words.split() if not re.fullmatch(r"[!-/:-@\[-`{-~]+", word))


def label(name: str, fallback: str) -> str:
    """Return a name fit to stand in readable text: one line, without the characters that markup is made of."""
    return " ".join(re.sub(r"[<>`]", "", name).split()) or fallback


def _word(found: re.Match[str]) -> str:
    """Return what stands for a markup that carries its own words."""
    if found["emoji"]:
        return f":{found['emoji']}:"
    if found["seconds"]:
        return _moment(int(found["seconds"]), found["style"])
    if found["command"]:
        return "/" + found["command"]
    return "#" + found["place"] if found["place"] else found[0]


def _break_markup(found: re.Match[str]) -> str:
    return found[0] if found["code"] else "<" + WORD_JOINER + found[0][1:]


def _moment(seconds: int, style: str | None) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        # Discord accepts times that no calendar holds and shows them as invalid.
        return "some time"
    # strftime does not pad years below 1000 on Linux; isoformat-like dates are built from the padded year.
    pattern = _TIME_FORMATS.get(style or "f", _DEFAULT_TIME_FORMAT).replace("%Y", f"{moment.year:04}")
    return moment.strftime(pattern)


def _one_of(names: Collection[str]) -> str:
    """Return a pattern for any of the names, the longest first, so that `Ann Lee` is not read as `Ann`."""
    return "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))


def _link_words(url: str) -> str:
    """Return a link's host and the readable words of its path; ids, numbers and queries are noise."""
    host, _, rest = url.split("://", 1)[1].partition("/")
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    words = [word for word in re.findall(r"[^\W_]+", path) if word.isalpha() and 1 < len(word) <= _LONGEST_LINK_WORD]
    return " ".join([re.split(r"[?#:]", host.removeprefix("www."), maxsplit=1)[0], *words])
