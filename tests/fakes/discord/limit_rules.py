"""What the rate limiter is told and what it answers: rules, admissions, routes spelled in one way."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Scope = Literal["user", "shared", "global"]

_PREFIX: Final = re.compile(r"^/api(?:/v\d+)?(?=/)")
_PLACEHOLDER: Final = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests per `per` seconds and major parameter; rules of the same `name` share one bucket."""

    limit: int
    per: float
    name: str | None = None
    scope: Scope = "user"
    code: int | None = None

    def __post_init__(self) -> None:
        if self.limit < 1 or self.per <= 0:
            raise ValueError(f"a rule needs limit >= 1 and per > 0 s, not {self.limit} per {self.per} s")


RuleLike = Rule | tuple[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The limiter's answer to one request: go on and add `headers`, or send `status` with `raw` and `headers`."""

    ok: bool
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | str | None = None
    retry_after: float = 0.0
    status: int = 200
    scope: str | None = None

    @property
    def content_type(self) -> str:
        """Exactly what Discord (JSON) or the shield in front of it (HTML) sends."""
        return "text/html" if isinstance(self.body, str) else "application/json"

    @property
    def raw(self) -> bytes:
        """The body as bytes; empty when the request was admitted."""
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@functools.lru_cache(maxsize=1024)
def normal_route(method: str, route_template: str) -> str:
    """Spell a route in one way: `GET /channels/{}/messages`, whatever the prefix and the placeholders' names."""
    path = _PREFIX.sub("", route_template)
    return f"{method.upper()} {_PLACEHOLDER.sub('{}', path)}"


@functools.lru_cache(maxsize=1024)
def bucket_hash(name: str) -> str:
    """The opaque name a bucket has in `X-RateLimit-Bucket`."""
    return hashlib.blake2s(name.encode(), digest_size=16).hexdigest()
