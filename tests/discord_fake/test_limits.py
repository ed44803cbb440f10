import asyncio
import json
import warnings

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop, which Python 3.13 leaves out
    import discord

from tests.fakes.discord.limits import HISTORY, POSTS, Limits, Rule, bucket_hash, normal_route

HISTORY_TEMPLATE = "/api/v10/channels/{c}/messages"
EPOCH = 1_700_000_000.0


def history(limits, now, channel="7", auth="Bot t"):
    return limits.admit("GET", HISTORY_TEMPLATE, channel, auth, now)


def test_nothing_is_limited_by_default():
    limits = Limits()
    assert all(history(limits, 0.0).ok for _ in range(5_000))
    assert limits.total_429 == 0
    assert history(limits, 0.0).headers == {}


def test_a_bucket_counts_down_refuses_and_opens_again():
    limits = Limits(history=(5, 5.0), wall=lambda: EPOCH)
    remaining = [history(limits, 10.0 + i).headers["X-RateLimit-Remaining"] for i in range(5)]
    assert remaining == ["4", "3", "2", "1", "0"]
    refused = history(limits, 14.25)
    assert not refused.ok
    assert refused.status == 429
    assert refused.retry_after == pytest.approx(0.75)
    assert refused.body == {"message": "You are being rate limited.", "retry_after": 0.75, "global": False}
    assert refused.headers == {
        "Via": "1.1 google",
        "Retry-After": "1",
        "X-RateLimit-Scope": "user",
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1700000000.750",
        "X-RateLimit-Reset-After": "0.750",
        "X-RateLimit-Bucket": bucket_hash(normal_route("GET", HISTORY_TEMPLATE)),
    }
    assert refused.content_type == "application/json"
    assert json.loads(refused.raw) == refused.body
    assert history(limits, 15.0).ok
    assert limits.counts == {"user": 1}
    assert limits.counts_by_route == {HISTORY: 1}


def test_the_window_is_fixed_not_sliding():
    limits = Limits(history=(2, 1.0))
    assert [history(limits, at).ok for at in (0.0, 0.9, 0.95, 1.0, 1.1, 1.2)] == [True, True, False, True, True, False]


def test_channels_have_windows_of_their_own_and_routes_buckets_of_their_own():
    limits = Limits(history=(1, 5.0), posts=(1, 5.0))
    assert history(limits, 0.0, "1").ok
    assert not history(limits, 0.0, "1").ok
    assert history(limits, 0.0, "2").ok
    assert limits.admit("POST", HISTORY_TEMPLATE, "1", "Bot t", 0.0).ok


def test_only_channels_guilds_and_webhooks_are_major_parameters():
    limits = Limits({"GET /users/{}": (1, 1.0)})
    assert limits.admit("GET", "/users/{u}", "1", None, 0.0).ok
    assert not limits.admit("GET", "/users/{u}", "2", None, 0.0).ok


def test_rules_of_one_name_share_a_bucket():
    shared = Rule(1, 5.0, name="messages")
    limits = Limits({HISTORY: shared, POSTS: shared})
    first = history(limits, 0.0)
    second = limits.admit("POST", "/channels/{x}/messages", "7", "Bot t", 0.0)
    assert (first.ok, second.ok) == (True, False)
    assert first.headers["X-RateLimit-Bucket"] == second.headers["X-RateLimit-Bucket"]


def test_routes_are_the_same_whatever_their_prefix_and_placeholders():
    assert {
        normal_route("get", path)
        for path in ("/api/v10/channels/{c}/messages", "/api/channels/{channel_id}/messages", "/channels/{}/messages")
    } == {HISTORY}


def test_the_default_rule_holds_where_no_other_does():
    limits = Limits(default=(1, 1.0), history=(2, 1.0))
    assert [history(limits, 0.0).ok for _ in range(3)] == [True, True, False]
    assert [limits.admit("GET", "/guilds/{g}", "1", None, 0.0).ok for _ in range(2)] == [True, False]
    assert limits.admit("GET", "/guilds/{g}/channels", "1", None, 0.0).ok


def test_a_rule_can_change_on_the_way():
    limits = Limits(history=(1, 100.0))
    assert history(limits, 0.0).ok
    limits.limit("GET /channels/{c}/messages", None)
    assert history(limits, 0.0).ok
    limits.limit(HISTORY, (2, 100.0))
    assert [history(limits, 1.0).ok for _ in range(2)] == [True, False]  # the old window goes on


def test_the_global_limit_covers_all_routes_of_a_token_but_no_interactions():
    limits = Limits(global_per_second=50)
    assert all(history(limits, 0.0, str(i)).ok for i in range(50))
    refused = limits.admit("GET", "/guilds/{g}", "1", "Bot t", 0.4)
    assert refused.body == {"message": "You are being rate limited.", "retry_after": 0.6, "global": True}
    assert refused.headers["X-RateLimit-Global"] == "true"
    assert refused.headers["X-RateLimit-Scope"] == "global"
    assert "X-RateLimit-Bucket" not in refused.headers
    assert limits.admit("POST", "/interactions/{id}/{token}/callback", "1", "Bot t", 0.4).ok
    assert limits.admit("POST", "/api/v10/webhooks/{app}/{token}", "1", "Bot t", 0.4).ok
    assert history(limits, 0.4, auth="Bot other").ok
    assert history(limits, 1.0).ok
    assert limits.counts == {"global": 1}


def test_what_a_bucket_refuses_does_not_use_up_the_global_limit():
    limits = Limits(global_per_second=2, history=(1, 10.0))
    assert [history(limits, 0.0).ok for _ in range(4)] == [True, False, False, False]
    assert history(limits, 0.0, "8").ok
    assert limits.counts == {"user": 3}


def test_silent_mode_says_nothing_about_buckets():
    limits = Limits(history=(1, 2.0), honesty="silent")
    assert history(limits, 0.0).headers == {}
    refused = history(limits, 0.0)
    assert refused.headers == {"Via": "1.1 google", "Retry-After": "2"}
    assert refused.body["retry_after"] == 2.0


def test_wrong_mode_states_a_wait_that_is_too_short():
    limits = Limits(history=(1, 2.0), honesty="wrong", lie=0.25)
    assert history(limits, 0.0).headers["X-RateLimit-Reset-After"] == "0.500"
    refused = history(limits, 0.0)
    assert refused.retry_after == refused.body["retry_after"] == 0.5
    assert not history(limits, 0.5).ok


def test_shared_limits_state_no_bucket_and_are_not_held_against_the_client():
    limits = Limits({HISTORY: Rule(1, 1.0, scope="shared", code=20028)}, invalid_requests=(2, 600.0))
    assert history(limits, 0.0).headers == {}
    refused = [history(limits, 0.0) for _ in range(5)]
    assert {r.headers["X-RateLimit-Scope"] for r in refused} == {"shared"}
    assert refused[0].body["code"] == 20028
    assert limits.counts == {"shared": 5}
    assert limits.invalid(0.0) == 0
    assert not limits.banned(0.0)


def test_too_many_invalid_requests_end_in_a_ban():
    limits = Limits(history=(1, 1_000.0), invalid_requests=(10, 600.0), ban_seconds=60.0)
    history(limits, 0.0)
    for status in (401, 403, 404, 500, 200):
        limits.answered(status, 1.0)
    assert limits.invalid(1.0) == 2
    assert [history(limits, 2.0).scope for _ in range(8)] == ["user"] * 8
    assert limits.banned(2.0)
    banned = limits.admit("GET", "/users/@me", None, "Bot t", 3.0)
    assert (banned.ok, banned.status, banned.scope) == (False, 429, "banned")
    assert "Via" not in banned.headers
    assert banned.content_type == "text/html"
    assert b"1015" in banned.raw
    assert limits.counts == {"user": 8, "banned": 1}
    assert limits.admit("GET", "/users/@me", None, "Bot t", 62.0).ok


def test_old_invalid_requests_are_forgotten():
    limits = Limits(invalid_requests=(4, 600.0))
    for at in (0.0, 300.0, 600.0, 899.9):
        limits.answered(403, at)
    assert limits.invalid(900.0) == 2  # those of 600.0 and 899.9
    assert not limits.banned(900.0)


def test_refusals_can_be_forced_for_one_route_or_for_any():
    limits = Limits()
    limits.force(2, 1.5, route="POST /channels/{x}/messages")
    limits.force(1, 9.0, scope="global")
    assert history(limits, 0.0).body == {"message": "You are being rate limited.", "retry_after": 9.0, "global": True}
    assert history(limits, 0.0).ok
    posts = [limits.admit("POST", HISTORY_TEMPLATE, "7", "Bot t", 0.0) for _ in range(3)]
    assert [(post.ok, post.retry_after) for post in posts] == [(False, 1.5), (False, 1.5), (True, 0.0)]


def test_forgetting_opens_every_window_and_keeps_the_rules():
    limits = Limits(history=(1, 100.0), global_per_second=2, invalid_requests=(1, 600.0))
    assert [history(limits, 0.0).ok for _ in range(2)] == [True, False]
    assert limits.banned(0.0)
    limits.forget()
    assert (limits.total_429, limits.admitted, limits.invalid(0.0)) == (0, 0, 0)
    assert [history(limits, 0.0).ok for _ in range(2)] == [True, False]


@pytest.mark.parametrize("bad", [(0, 1.0), (1, 0.0)])
def test_impossible_rules_are_refused(bad):
    with pytest.raises(ValueError, match="a rule needs"):
        Limits(history=bad)


def test_a_misspelled_route_is_refused():
    with pytest.raises(ValueError, match="a route is spelled like"):
        Limits({"channels/{}/messages": (1, 1.0)})


@given(
    st.integers(1, 6),
    st.floats(0.5, 10.0),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 3)), max_size=120),
)
def test_no_window_lets_more_through_than_its_limit_and_waiting_as_told_is_enough(limit, per, steps):
    limits = Limits(history=(limit, per))
    now, admitted = 0.0, {}
    for pause, channel in steps:
        now += pause
        answer = history(limits, now, str(channel))
        if answer.ok:
            admitted.setdefault(channel, []).append(now)
        else:
            assert 0 < answer.retry_after <= per + 0.002
            later = now + answer.retry_after
            assert sum(at > now - per for at in admitted[channel]) >= 1
            now = later
            assert history(limits, now, str(channel)).ok
            admitted[channel].append(now)
    for times in admitted.values():
        starts = []
        for at in times:  # fixed windows, rebuilt from the outside
            if not starts or at >= starts[-1][0] + per:
                starts.append((at, []))
            starts[-1][1].append(at)
        assert all(len(window) <= limit for _, window in starts)


def serve_history(limits, handled):
    """A server of one route behind the limiter, as the fake Discord puts it."""

    @web.middleware
    async def limited(request, handler):
        now = asyncio.get_running_loop().time()
        template = request.match_info.route.resource.canonical
        admission = limits.admit(
            request.method, template, request.match_info.get("c"), request.headers.get("Authorization"), now
        )
        if not admission.ok:
            return web.Response(
                status=429, body=admission.raw, headers=admission.headers | {"Content-Type": admission.content_type}
            )
        response = await handler(request)
        response.headers.update(admission.headers)
        limits.answered(response.status, now)
        return response

    async def page(request):
        handled.append(asyncio.get_running_loop().time())
        return web.Response(body=b"[]", content_type="application/json")

    app = web.Application(middlewares=[limited])
    app.router.add_get("/api/v10/channels/{c}/messages", page)
    return app


async def fetch(limits, requests, *, handled, monkeypatch):
    """Page through discord.py's own HTTP client, `requests` times at once."""
    runner = web.AppRunner(serve_history(limits, handled))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(discord.http.Route, "BASE", f"http://127.0.0.1:{port}/api/v10")
    client = discord.http.HTTPClient(asyncio.get_running_loop())
    client._HTTPClient__session = aiohttp.ClientSession()
    client._global_over = asyncio.Event()
    client._global_over.set()
    try:
        return await asyncio.gather(*(client.logs_from(7, 100) for _ in range(requests)), return_exceptions=True)
    finally:
        await client.close()
        await runner.cleanup()


def test_discord_py_paces_itself_by_honest_headers(monkeypatch):
    limits, handled = Limits(history=(2, 0.3)), []
    assert asyncio.run(fetch(limits, 6, handled=handled, monkeypatch=monkeypatch)) == [[]] * 6
    assert limits.total_429 == 0
    assert handled[-1] - handled[0] >= 0.6 - 0.01


@pytest.mark.parametrize("honesty", ["silent", "wrong"])
def test_discord_py_runs_into_dishonest_limits_and_gets_through(monkeypatch, honesty):
    limits, handled = Limits(history=(2, 0.3), honesty=honesty, lie=0.9), []
    assert asyncio.run(fetch(limits, 4, handled=handled, monkeypatch=monkeypatch)) == [[]] * 4
    assert limits.counts["user"] >= 1
    assert len(handled) == 4


def test_discord_py_understands_the_global_refusal(monkeypatch):
    limits, handled = Limits(global_per_second=3), []
    assert asyncio.run(fetch(limits, 5, handled=handled, monkeypatch=monkeypatch)) == [[]] * 5
    assert limits.counts["global"] >= 1
    assert handled[3] - handled[0] >= 1.0 - 0.01


def test_discord_py_gives_up_at_once_when_banned(monkeypatch):
    limits, handled = Limits(invalid_requests=(1, 600.0), ban_seconds=float("inf")), []
    limits.answered(403, 0.0)
    (answer,) = asyncio.run(fetch(limits, 1, handled=handled, monkeypatch=monkeypatch))
    assert isinstance(answer, discord.HTTPException)
    assert (answer.status, handled) == (429, [])
