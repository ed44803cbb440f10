"""Settings changed at run time: judged like config.toml, kept in the store, skipped when they no longer fit."""

import asyncio
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from persona.adapters.sqlite.desk import SqliteDesk
from persona.config import Settings
from persona.config_tables import SamplingSection, SpeakingSection
from persona.domain.chat import AuthorId
from persona.errors import StoreError, UsageError
from persona.live_settings import LiveSettings
from tests.fakes.stores import execute, query, with_store

ME = AuthorId(7)
FILE = Settings(speaking=SpeakingSection(rate=0.1), sampling=SamplingSection(temperature=0.5))


def with_desk(tmp_path, scenario):
    async def run(store):
        return await scenario(SqliteDesk(store.database))

    return with_store(tmp_path / "persona.db", run)


def test_a_change_takes_effect_is_told_and_survives_a_restart(tmp_path):
    async def scenario(desk):
        live = await LiveSettings.load(FILE, desk)
        told = []
        live.subscribe(told.append)
        change = await live.change("speaking.rate", "0.25", ME)
        assert (change.before, change.after) == (0.1, 0.25)
        assert live.current.speaking.rate == live.value("speaking.rate") == 0.25
        assert FILE.speaking.rate == 0.1
        assert told == [live.current]
        await live.change("speaking.mentions_only", "on", ME)
        await live.change("sampling.max_tokens", 33, ME)

    with_desk(tmp_path, scenario)

    async def again(desk):
        live = await LiveSettings.load(FILE, desk)
        assert (live.current.speaking.rate, live.current.speaking.mentions_only) == (0.25, True)
        assert live.current.sampling.max_tokens == 33
        assert live.current.sampling.temperature == 0.5
        assert live.is_changed("speaking.rate")
        assert not live.is_changed("sampling.temperature")
        change = await live.reset("speaking.rate", ME)
        assert (change.before, change.after) == (0.25, 0.1)
        assert not live.is_changed("speaking.rate")

    with_desk(tmp_path, again)
    keys = query(tmp_path / "persona.db", "SELECT key, changed_by FROM settings ORDER BY key")
    assert keys == [("sampling.max_tokens", 7), ("speaking.mentions_only", 7)]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("speaking.rate", "nan", "0 to 1"),
        ("speaking.rate", "inf", "0 to 1"),
        ("speaking.rate", "1.01", "0 to 1"),
        ("speaking.rate", "-0.1", "0 to 1"),
        ("speaking.rate", "0,5", "0 to 1"),
        ("speaking.rate", "true", "0 to 1"),
        ("speaking.rate", "", "0 to 1"),
        ("speaking.rate", '"0.5"', "0 to 1"),
        ("speaking.rate", "0.5\nrate = 0.6", "0 to 1"),
        ("speaking.rate", "[" * 3000, "0 to 1"),
        ("speaking.rate", float("nan"), "0 to 1"),
        ("sampling.temperature", 2.5, "0 to 2"),
        ("sampling.max_tokens", "12.5", "whole numbers, 1 to 4096"),
        ("sampling.max_tokens", "9" * 5000, "whole numbers, 1 to 4096"),
        ("sampling.max_tokens", "0", "whole numbers, 1 to 4096"),
        ("speaking.mentions_only", "1", "yes or no"),
        ("speaking.mentions_only", "maybe", "yes or no"),
    ],
)
def test_what_config_toml_would_refuse_is_refused_with_the_range(tmp_path, key, value, allowed):
    async def scenario(desk):
        live = await LiveSettings.load(FILE, desk)
        with pytest.raises(UsageError, match="cannot be") as refusal:
            await live.change(key, value, ME)
        assert refusal.value.cure == f"allowed: {allowed}"
        assert live.allowed(key) == allowed
        assert live.current == FILE
        assert await desk.overrides() == {}

    with_desk(tmp_path, scenario)


@pytest.mark.parametrize("key", ["storage.database", "discord.prefix", "speaking.nothing", "rate", ""])
def test_what_is_read_once_at_the_start_cannot_be_changed(tmp_path, key):
    async def scenario(desk):
        live = await LiveSettings.load(FILE, desk)
        with pytest.raises(UsageError, match="not a setting"):
            await live.change(key, "1", ME)
        with pytest.raises(UsageError, match="not a setting"):
            await live.reset(key, ME)

    with_desk(tmp_path, scenario)


def test_stored_values_that_no_longer_fit_are_skipped_and_logged(tmp_path):
    async def scenario(desk):
        at = datetime.now(UTC)
        await desk.override("speaking.rate", 7, by=ME, at=at)
        await desk.override("speaking.gone", 1, by=ME, at=at)
        await desk.override("sampling.temperature", 1.5, by=ME, at=at)
        live = await LiveSettings.load(FILE, desk)
        assert live.current.speaking == FILE.speaking
        assert live.current.sampling.temperature == 1.5
        assert not live.is_changed("speaking.rate")

    with capture_logs() as logs:
        with_desk(tmp_path, scenario)
    skipped = [entry for entry in logs if entry["event"] == "stored_setting_skipped"]
    assert len(skipped) == 2


def test_what_cannot_be_kept_does_not_take_effect(tmp_path):
    async def scenario(desk):
        live = await LiveSettings.load(FILE, desk)
        execute(
            tmp_path / "persona.db",
            "CREATE TRIGGER no BEFORE INSERT ON settings BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        with pytest.raises(StoreError):
            await live.change("speaking.rate", "0.9", ME)
        assert live.current == FILE

    with_desk(tmp_path, scenario)


def test_changes_at_the_same_moment_do_not_undo_each_other(tmp_path):
    async def scenario(desk):
        live = await LiveSettings.load(FILE, desk)
        await asyncio.gather(
            live.change("speaking.rate", "0.9", ME),
            live.change("sampling.temperature", "1.1", ME),
            live.change("sampling.max_tokens", "5", ME),
        )
        now = live.current
        assert (now.speaking.rate, now.sampling.temperature, now.sampling.max_tokens) == (0.9, 1.1, 5)

    with_desk(tmp_path, scenario)
