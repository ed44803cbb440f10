import asyncio
import json
from datetime import timedelta

import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.domain.chat import AuthorId
from persona.domain.consent import Choice, Scope
from persona.domain.lineage import decode_lineage
from persona.errors import EXIT_CONFIG, ConfigError, PersonaError
from persona.run_marks import mark_runs
from tests.pipelines.prepare_world import (
    ANN,
    BEN,
    CAT,
    DAN,
    GENERAL,
    NOON,
    PERMITTED,
    entry,
    fill,
    opened,
    preparer,
    rows_in,
    said,
)

SECRET_OF_CAT = "zanzibarquokka"  # noqa: S105


def talk():
    messages = []
    for number in range(40):
        author = (ANN, BEN, CAT, ANN, BEN)[number % 5]
        word = SECRET_OF_CAT if author is CAT else f"words of {author.name}"
        messages.append(said(author, f"{word} number {number}", seconds=30 * number, mentions=[CAT]))
    reply = said(ANN, "that is true", seconds=2000, reply_to=messages[2].id)
    return [*messages, reply, said(BEN, "is it <@3>", seconds=2010, mentions=[CAT])]


def everything_in(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_without_a_recorded_permission_nothing_is_read(tmp_path):
    fill(tmp_path / "a.db", talk(), entries=[entry(1), entry(2), entry(3)])
    with pytest.raises(ConfigError, match="the greenhouse") as caught:
        preparer(tmp_path / "a.db", tmp_path / "run").prepare()
    assert caught.value.exit_code == EXIT_CONFIG
    assert "persona consent record --permission" in str(caught.value)
    assert not any(b"words of" in data for data in everything_in(tmp_path / "run").values())


def test_a_permission_that_was_taken_back_is_none(tmp_path):
    back = entry(0, Choice.NO, at=NOON + timedelta(days=1))
    fill(tmp_path / "a.db", talk(), entries=[PERMITTED, entry(1), back])
    with pytest.raises(ConfigError, match="no permission is recorded"):
        preparer(tmp_path / "a.db", tmp_path / "run").prepare()


def test_a_permission_for_another_server_does_not_count(tmp_path):
    fill(tmp_path / "a.db", talk(), entries=[entry(0, guild=78), entry(1)])
    with pytest.raises(ConfigError, match="no permission is recorded"):
        preparer(tmp_path / "a.db", tmp_path / "run").prepare()


@pytest.mark.parametrize(
    "cat",
    [
        [entry(3, Choice.NO)],
        [entry(3, Choice.YES), entry(3, Choice.NO, at=NOON + timedelta(hours=1))],
        [entry(3, Choice.YES), entry(3, Choice.NO, scope=Scope.STORE)],
        [],
    ],
    ids=["said no", "said no later", "is not stored", "said nothing"],
)
def test_words_of_somebody_who_did_not_agree_are_in_no_file(tmp_path, cat):
    # What was stored before somebody opted out stays until they are forgotten: so the choice comes last.
    fill(tmp_path / "a.db", talk(), entries=[PERMITTED, entry(1), entry(2), *cat])
    prepared = preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    files = everything_in(tmp_path / "run")
    assert any(b"words of ann" in data for data in files.values())
    for file, data in files.items():
        assert SECRET_OF_CAT.encode() not in data, file
        assert b"@cat" not in data, file
    assert prepared.manifest["counts"]["dropped"] == {"no consent of its author": 8}
    assert prepared.manifest["permissions"][0].endswith("Discord, ticket 12")


def test_with_everybodys_consent_the_same_words_are_there(tmp_path):
    """The test above would see them if they were written."""
    fill(tmp_path / "a.db", talk(), entries=[PERMITTED, entry(1), entry(2), entry(3)])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    assert any(SECRET_OF_CAT.encode() in data for data in everything_in(tmp_path / "run").values())


def test_answers_to_somebody_who_is_not_there_are_not_learned(tmp_path):
    fill(tmp_path / "a.db", talk(), entries=[PERMITTED, entry(1), entry(2)])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    learned = {row["completion"][0]["content"] for row in rows_in(tmp_path / "run" / "sft")}
    assert "that is true" not in learned  # a reply to cat
    assert "words of ann number 3" not in learned  # said right after cat
    assert "words of ben number 4" in learned


def test_own_exports_need_no_permission_and_respect_a_no(tmp_path):
    fill(tmp_path / "a.db", talk(), entries=[entry(3, Choice.NO)], own="their data packages")
    prepared = preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    assert prepared.manifest["own_exports"] == {"their data packages": 42}
    assert not any(SECRET_OF_CAT.encode() in data for data in everything_in(tmp_path / "run").values())


def test_own_only_leaves_out_what_came_through_the_api(tmp_path):
    own = [said(ANN, "mine to give", seconds=1), said(BEN, "and mine", seconds=2), said(ANN, "good", seconds=3)]
    fill(tmp_path / "a.db", own, own="packages")
    fill(tmp_path / "a.db", [said(DAN, "through the api", seconds=4), said(ANN, "late answer", seconds=5)])
    with pytest.raises(ConfigError, match="2 messages"):
        preparer(tmp_path / "a.db", tmp_path / "x").prepare()
    preparer(tmp_path / "a.db", tmp_path / "run", own_only=True, cap=1.0).prepare()
    text = b"".join(everything_in(tmp_path / "run").values())
    assert b"and mine" in text
    assert b"through the api" not in text
    assert b"late answer" not in text


def test_nobody_agreed_is_said_in_words(tmp_path):
    fill(tmp_path / "a.db", talk(), entries=[PERMITTED])
    with pytest.raises(PersonaError, match="no consent of its author"):
        preparer(tmp_path / "a.db", tmp_path / "run").prepare()


def test_channels_off_the_allow_list_are_not_read(tmp_path):
    from dataclasses import replace

    fill(tmp_path / "a.db", talk(), channels=[replace(GENERAL, allowed=False)], entries=[PERMITTED, entry(1)])
    with pytest.raises(PersonaError, match="no messages in allowed channels"):
        preparer(tmp_path / "a.db", tmp_path / "run").prepare()


def test_forgetting_marks_the_run_and_it_is_not_gone_on_with(tmp_path):
    database, runs = tmp_path / "a.db", tmp_path / "runs"
    fill(database, talk(), entries=[PERMITTED, entry(1), entry(2), entry(3)])
    preparer(database, runs / "one", cap=1.0).prepare()
    lineage = decode_lineage((runs / "one" / "lineage.bin").read_bytes())
    assert len(lineage.authors) == 3

    async def forget():
        async with opened(database) as store:
            at = NOON + timedelta(days=3000)
            gone = await store.ledger.forget_author(AuthorId(3), at)
            key = await store.ledger.lineage_key()
            return mark_runs(
                runs,
                key=key.fingerprint,
                messages=[key.message(each) for each in gone.message_ids],
                authors={key.author(AuthorId(3)): at},
                at=at,
            )

    (mark,) = asyncio.run(forget())
    assert mark.run == "one"
    assert mark.messages >= 7
    assert mark.authors == 1
    with pytest.raises(PersonaError, match="forgotten since"):
        preparer(database, runs / "one", cap=1.0).prepare()
    preparer(database, runs / "one", cap=1.0).prepare(fresh=True)
    assert not any(SECRET_OF_CAT.encode() in data for data in everything_in(runs / "one").values())


def test_the_lineage_holds_what_went_in_and_nothing_else(tmp_path):
    messages = talk()
    fill(tmp_path / "a.db", messages, entries=[PERMITTED, entry(1), entry(2)])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()

    async def key():
        async with opened(tmp_path / "a.db") as store:
            return await store.ledger.lineage_key()

    secret = asyncio.run(key())
    lineage = decode_lineage((tmp_path / "run" / "lineage.bin").read_bytes())
    cats = [secret.message(message.id) for message in messages if message.author is CAT]
    anns = [secret.message(message.id) for message in messages if message.author is ANN]
    assert lineage.messages_among(cats) == 0
    assert lineage.messages_among(anns) > 10
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["lineage"]
