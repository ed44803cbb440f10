"""Finds what must not be learned: access tokens, passwords, e-mail, phone numbers, network and street addresses.

Tokens and passwords are found by `detect-secrets`, phone numbers by `phonenumbers` (Google's libphonenumber). Both are
asked only about text that could hold one; what that means is wider than what they find.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from persona.errors import ConfigError

DEFAULT_REGIONS = ("US", "GB", "DE")


class SecretKind(StrEnum):
    """What kind of secret it is, as it is named where it stood."""

    TOKEN = "secret"  # noqa: S105
    EMAIL = "e-mail address"
    PHONE = "phone number"
    NETWORK = "network address"
    STREET = "street address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A text without its secrets, and what kinds they were, one for each place."""

    text: str
    kinds: tuple[SecretKind, ...] = ()


_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_NETWORK = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?![\w.]*\w)"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
    r"|(?<![\w:])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![\w:-])"
)
_HARMLESS_NETWORK = re.compile(r"127\.|0\.0\.0\.0$|255\.|10\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2[0-9]|3[01])\.")
_STREET_WORDS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|square|sq|terrace|crescent|way|place|pl"
)
_STREET = re.compile(
    rf"\b[0-9]{{1,5}}[A-Za-z]?\s+(?:[A-Z][\w'.-]*\s+){{1,4}}(?i:{_STREET_WORDS})\b\.?"
    r"|\b[A-ZÄÖÜ][\w-]*(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse)\s+[0-9]{1,4}[a-z]?\b"
    r"|\b[0-9]{1,4},?\s+(?i:rue|avenue|boulevard)\s+[A-ZÀ-Þ][\w'’-]*",  # noqa: RUF001
)
_DIGITS = re.compile(r"(?:[0-9][^0-9A-Za-z]{0,3}){6}[0-9]")
_PHONE_SHAPE = re.compile(r"\+|\([0-9]{2,5}\)|[0-9][ ./-][0-9]|\btel|\bphone|\bcall|\bmobile|\bwhatsapp", re.IGNORECASE)
_LINK = re.compile(r"https?://\S+")
_CANDIDATE = re.compile(
    r"-----BEGIN|://[^\s/]*@|\b(?=[\w+/=.-]*[0-9])(?=[\w+/=.-]*[A-Za-z])[\w+/=.-]{16,}"
    r"|(?i:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|pwd|credential)\w*\s*[:=]",
)
_ASSIGNED = re.compile(
    r"(?i:\b(?:pass(?:word|wd|phrase)?|secret|(?:access|auth|bot)[_ -]?token|api[_-]?key|pwd)\b\s*(?:is\s*)?[:=]\s*)"
    r"[\"'`]?(?P<value>[^\s\"'`]{4,})"
)
_RANDOM_WORD = re.compile(r"(?<![\w/+.-])[A-Za-z0-9+/_-]{24,}={0,2}(?![\w/+.-])")
_WORD = re.compile(r"[\w+/=~.-]")
_HEX_WORD = re.compile(r"(?<![\w-])[0-9a-fA-F]{32,}(?![\w-])")
_LEAST_ENTROPY = 4.0
_LEAST_KINDS = 3


class SecretFinder:
    """Masks secrets; `regions` are the countries (ISO 3166) whose phone numbers are known without a country code.

    Raises:
        ConfigError: a library is missing.
    """

    def __init__(self, regions: Sequence[str] = DEFAULT_REGIONS) -> None:
        self._regions = tuple(regions)
        self._plugins = _plugins()
        self._phones = _phone_finder()

    def mask(self, text: str) -> Masked:
        """Return the text with every secret replaced by the name of its kind in brackets."""
        spans = sorted(self._spans(text), key=lambda span: (span[0], -span[1]))
        if not spans:
            return Masked(text=text)
        parts: list[str] = []
        kinds: list[SecretKind] = []
        end = 0
        for start, stop, kind in spans:
            if start >= end:
                parts += [text[end:start], f"[{kind}]"]
                kinds.append(kind)
            end = max(end, stop)
        parts.append(text[end:])
        return Masked(text="".join(parts), kinds=tuple(kinds))

    def _spans(self, text: str) -> Iterator[tuple[int, int, SecretKind]]:
        if _CANDIDATE.search(text):
            for start, stop in self._tokens(text):
                yield start, stop, SecretKind.TOKEN
        if "@" in text:
            for found in _EMAIL.finditer(text):
                yield *found.span(), SecretKind.EMAIL
        for found in _NETWORK.finditer(text):
            if not _HARMLESS_NETWORK.match(found[0]):
                yield *found.span(), SecretKind.NETWORK
        for found in _STREET.finditer(text):
            yield *found.span(), SecretKind.STREET
        if _DIGITS.search(text) and _PHONE_SHAPE.search(text):
            for start, stop in self._phones(_LINK.sub(_blank, text), self._regions):
                yield start, stop, SecretKind.PHONE

    def _tokens(self, text: str) -> Iterator[tuple[int, int]]:
        # Within a code fence or a long paste every line is looked at by itself, as the plugins expect.
        offset = 0
        for line in text.splitlines(keepends=True):
            for plugin in self._plugins:
                for value in plugin.analyze_string(line):
                    if isinstance(value, str) and value and (place := line.find(value)) >= 0:
                        start, end = _whole_word(line, place, place + len(value))
                        yield offset + start, offset + end
            for found in _ASSIGNED.finditer(line):
                yield offset + found.start("value"), offset + found.end("value")
            offset += len(line)
        bare = _LINK.sub(_blank, text)
        for found in (*_RANDOM_WORD.finditer(bare), *_HEX_WORD.finditer(bare)):
            if _looks_random(found[0]):
                yield found.span()


def _whole_word(line: str, start: int, end: int) -> tuple[int, int]:
    """Widen a place to the word it stands in: some detectors know only how a token begins."""
    if "\n" in line[start:end].strip():
        return start, end
    while start and _WORD.match(line[start - 1]):
        start -= 1
    while end < len(line) and _WORD.match(line[end]):
        end += 1
    return start, end


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _looks_random(word: str) -> bool:
    """Whether a word is too even a mix of characters to be one."""
    kinds = sum((any(c.islower() for c in word), any(c.isupper() for c in word), any(c.isdigit() for c in word)))
    if _HEX_WORD.fullmatch(word):
        return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString  # noqa: PLC0415 - an extra

    entropy = float(Base64HighEntropyString().calculate_shannon_entropy(word))
    return kinds >= _LEAST_KINDS and entropy >= _LEAST_ENTROPY


def _plugins() -> tuple[Any, ...]:
    """Return the detectors that know a token by its shape."""
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415 - an extra
        from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError("detect-secrets is not installed", cure="pip install 'persona[prepare]'") from None
    left_out = {"KeywordDetector", "IPPublicDetector"}
    known: Iterable[type[Any]] = get_mapping_from_secret_type_to_class().values()
    classes: list[type[Any]] = sorted(known, key=lambda each: str(each.__name__))
    return tuple(c() for c in classes if issubclass(c, RegexBasedDetector) and c.__name__ not in left_out)


def _phone_finder() -> Callable[[str, Sequence[str]], Iterator[tuple[int, int]]]:
    try:
        import phonenumbers  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("phonenumbers is not installed", cure="pip install 'persona[prepare]'") from None

    def find(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
        seen: set[tuple[int, int]] = set()
        for region in (None, *regions):
            # A number without a country code must also be written like one: chat is full of other digits.
            leniency = phonenumbers.Leniency.VALID if region is None else phonenumbers.Leniency.STRICT_GROUPING
            for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=leniency):
                span = (match.start, match.end)
                if span not in seen and not text[match.start : match.end].isdigit():
                    seen.add(span)
                    yield span

    return find
