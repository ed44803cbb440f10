"""Discord's rate limits: a pure limiter, told the time, that admits requests or answers 429 as Discord does."""

import math
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tests.fakes.discord.limit_rules import Admission, Rule, RuleLike, Scope, bucket_hash, normal_route

__all__ = ["HISTORY", "POSTS", "REACTIONS", "Admission", "Honesty", "Limits", "Rule", "bucket_hash", "normal_route"]

Honesty = Literal["full", "silent", "wrong"]
"""`full`: headers as Discord sends them; `silent`: no bucket headers at all; `wrong`: every stated wait is a lie."""

HISTORY: Final = "GET /channels/{}/messages"
POSTS: Final = "POST /channels/{}/messages"
REACTIONS: Final = "PUT /channels/{}/messages/{}/reactions/{}/@me"

# Interaction endpoints carry their own token and are not bound to the bot's global limit.
_EXEMPT: Final = ("/interactions/{}/{}", "/webhooks/{}/{}")
_MAJOR: Final = re.compile(r"^/(?:channels|guilds|webhooks)/\{\}")
_LONGEST_WAIT: Final = 86_400.0
_INVALID: Final = frozenset({401, 403, 429})


@dataclass(slots=True)
class _Window:
    """A fixed window: it starts with its first request and forgets everything when `per` seconds are over."""

    started: float
    used: int = 0


@dataclass(slots=True)
class _Forced:
    """Answers 429 regardless of any bucket, `times` more times."""

    times: int
    retry_after: float
    scope: Scope
    route: str | None


class Limits:
    """Per-route buckets, the global limit and the ban for too many invalid requests.

    Generous unless told otherwise: no bucket has a limit, and only the global 50 per second holds when
    `global_per_second` is given (None, the default, switches it off too).

    Args:
        buckets: rules by route, spelled as `GET /channels/{}/messages` (the placeholders' names do not matter).
        global_per_second: requests per second and token over all routes, interactions exempt.
        history: short for the rule of `GET /channels/{}/messages`, e.g. `(5, 5.0)`.
        posts: short for the rule of `POST /channels/{}/messages`.
        default: the rule of every route without one of its own, each route with its own bucket.
        honesty: how far the answers' headers can be trusted.
        lie: with `wrong`, the stated wait is the real one times this.
        invalid_requests: this many answers of 401, 403 and 429 (shared ones aside) in that many seconds are
            followed by a ban: HTML answers without `Via`, as the shield in front of Discord sends.
        ban_seconds: how long the ban lasts.
        wall: the clock behind `X-RateLimit-Reset`, seconds since the epoch; `now` of `admit` may be another clock.
    """

    def __init__(
        self,
        buckets: Mapping[str, RuleLike] | None = None,
        global_per_second: int | None = None,
        *,
        history: RuleLike | None = None,
        posts: RuleLike | None = None,
        default: RuleLike | None = None,
        honesty: Honesty = "full",
        lie: float = 0.25,
        invalid_requests: tuple[int, float] = (10_000, 600.0),
        ban_seconds: float = 600.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.global_per_second = global_per_second
        self.honesty: Honesty = honesty
        self.lie = lie
        self.invalid_requests = invalid_requests
        self.ban_seconds = ban_seconds
        self.default = None if default is None else _rule(default)
        self.counts: Counter[str] = Counter()
        self.counts_by_route: Counter[str] = Counter()
        self.admitted = 0
        self._wall = wall
        self._rules: dict[str, Rule] = {}
        self._windows: dict[tuple[str, str], _Window] = {}
        self._global: dict[str, _Window] = {}
        self._forced: list[_Forced] = []
        self._invalid: deque[float] = deque()
        self._banned_until = -math.inf
        for route, rule in (buckets or {}).items():
            self.limit(route, rule)
        for route, short in ((HISTORY, history), (POSTS, posts)):
            if short is not None:
                self.limit(route, short)

    def limit(self, route: str, rule: RuleLike | None) -> None:
        """Set (or with None lift) the rule of a route such as `GET /channels/{}/messages` from now on."""
        method, _, path = route.partition(" ")
        if not path.startswith("/"):
            raise ValueError(f"a route is spelled like {HISTORY!r}, not {route!r}")
        key = normal_route(method, path)
        if rule is None:
            self._rules.pop(key, None)
        else:
            self._rules[key] = _rule(rule)

    def force(self, times: int, retry_after: float, *, scope: Scope = "user", route: str | None = None) -> None:
        """Answer the next `times` requests (of `route`, or of any) with 429, asking for `retry_after` seconds."""
        if route is not None:
            method, _, path = route.partition(" ")
            route = normal_route(method, path)
        self._forced.append(_Forced(times, retry_after, scope, route))

    def admit(self, method: str, route_template: str, major_id: object, auth: str | None, now: float) -> Admission:
        """Decide about one request; call it once per request, before its handler.

        Args:
            method: GET, POST, ...
            route_template: the matched route, `/api/v10/channels/{c}/messages`.
            major_id: the channel's, guild's or webhook's id in the path; None for a route without one.
            auth: the Authorization header; requests without one share one global window.
            now: seconds on any clock that does not go back, the same one for every call.
        """
        route = normal_route(method, route_template)
        if now < self._banned_until:
            return self._banned(now)
        if (forced := self._take_forced(route)) is not None:
            return self._refuse(route, None, forced.retry_after, forced.scope, now)
        if (wait := self._global_wait(route, auth or "", now)) > 0:
            return self._refuse(route, None, wait, "global", now)
        rule = self._rules.get(route, self.default)
        if rule is None:
            self._count_global(route, auth or "", now)
            self.admitted += 1
            return Admission(ok=True)
        bucket = bucket_hash(rule.name or route)
        major = str(major_id) if major_id is not None and _MAJOR.match(route.partition(" ")[2]) else ""
        window = self._windows.get((bucket, major))
        if window is None or now >= window.started + rule.per:
            window = self._windows[bucket, major] = _Window(now)
        left = window.started + rule.per - now
        if window.used >= rule.limit:
            return self._refuse(route, _Stated(rule, bucket, 0, left), left, rule.scope, now)
        window.used += 1
        self._count_global(route, auth or "", now)
        self.admitted += 1
        return Admission(ok=True, headers=self._headers(_Stated(rule, bucket, rule.limit - window.used, left)))

    def answered(self, status: int, now: float) -> None:
        """Note the status of an admitted request's answer; 401 and 403 count towards the ban."""
        if status in _INVALID:
            self._note_invalid(now)

    def invalid(self, now: float) -> int:
        """How many invalid requests are held against the client at `now`."""
        while self._invalid and self._invalid[0] <= now - self.invalid_requests[1]:
            self._invalid.popleft()
        return len(self._invalid)

    def banned(self, now: float) -> bool:
        """Whether the client is banned at `now`."""
        return now < self._banned_until

    @property
    def total_429(self) -> int:
        """All refusals so far, of every kind (`counts` has them by kind: user, shared, global, banned)."""
        return self.counts.total()

    def forget(self) -> None:
        """Forget every window, count and ban; the rules stay."""
        for kept in (self._windows, self._global, self._forced, self._invalid, self.counts, self.counts_by_route):
            kept.clear()
        self.admitted = 0
        self._banned_until = -math.inf

    def _take_forced(self, route: str) -> _Forced | None:
        for forced in self._forced:
            if forced.route in (None, route):
                forced.times -= 1
                if forced.times <= 0:
                    self._forced.remove(forced)
                return forced
        return None

    def _global_wait(self, route: str, auth: str, now: float) -> float:
        window = self._global.get(auth)
        if self.global_per_second is None or window is None or _exempt(route):
            return 0.0
        over = window.used >= self.global_per_second and now < window.started + 1.0
        return window.started + 1.0 - now if over else 0.0

    def _count_global(self, route: str, auth: str, now: float) -> None:
        if self.global_per_second is None or _exempt(route):
            return
        window = self._global.get(auth)
        if window is None or now >= window.started + 1.0:
            window = self._global[auth] = _Window(now)
        window.used += 1

    def _refuse(self, route: str, stated: "_Stated | None", wait: float, scope: Scope, now: float) -> Admission:
        self.counts[scope] += 1
        self.counts_by_route[route] += 1
        if scope != "shared":
            self._note_invalid(now)
        said = self._say(wait)
        headers = {"Via": "1.1 google", "Retry-After": str(math.ceil(said))}
        body: dict[str, Any] = {"message": _MESSAGES[scope], "retry_after": said, "global": scope == "global"}
        if stated is not None and stated.rule.code is not None:
            body["code"] = stated.rule.code
        if self.honesty != "silent":
            headers["X-RateLimit-Scope"] = scope
            if scope == "global":
                headers["X-RateLimit-Global"] = "true"
            if stated is not None:
                headers |= self._headers(stated)
        return Admission(ok=False, headers=headers, body=body, retry_after=said, status=429, scope=scope)

    def _headers(self, stated: "_Stated") -> dict[str, str]:
        if self.honesty == "silent" or stated.rule.scope == "shared":
            return {}
        wait = self._say(stated.left)
        return {
            "X-RateLimit-Limit": str(stated.rule.limit),
            "X-RateLimit-Remaining": str(stated.remaining),
            "X-RateLimit-Reset": f"{self._wall() + wait:.3f}",
            "X-RateLimit-Reset-After": f"{wait:.3f}",
            "X-RateLimit-Bucket": stated.bucket,
        }

    def _say(self, wait: float) -> float:
        # Rounded up to the millisecond: a client that waits exactly as told must not come too early.
        return math.ceil((wait * self.lie if self.honesty == "wrong" else wait) * 1000) / 1000

    def _note_invalid(self, now: float) -> None:
        self._invalid.append(now)
        if self.invalid(now) >= self.invalid_requests[0]:
            self._banned_until = now + self.ban_seconds
            self._invalid.clear()

    def _banned(self, now: float) -> Admission:
        self.counts["banned"] += 1
        wait = self._banned_until - now
        headers = {"Retry-After": str(math.ceil(min(wait, _LONGEST_WAIT))), "Server": "cloudflare"}
        body = "<html><head><title>Access denied</title></head><body>error code: 1015</body></html>"
        return Admission(ok=False, headers=headers, body=body, retry_after=wait, status=429, scope="banned")


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the headers say about one bucket; `left` in seconds."""

    rule: Rule
    bucket: str
    remaining: int
    left: float


_MESSAGES: Final[Mapping[str, str]] = {
    "user": "You are being rate limited.",
    "global": "You are being rate limited.",
    "shared": "The resource is being rate limited.",
}


def _rule(given: RuleLike) -> Rule:
    return given if isinstance(given, Rule) else Rule(*given)


def _exempt(route: str) -> bool:
    return route.partition(" ")[2].startswith(_EXEMPT)
