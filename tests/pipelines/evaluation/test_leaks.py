"""What is given away is found, and the message is named."""

from datetime import timedelta

import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.domain.chat import Channel, ChannelId
from pipelines.evaluation.heldout import read_split
from pipelines.evaluation.leaks import LeakFinder, find_leaks
from pipelines.evaluation.measures import Contender
from tests.pipelines.evaluation.run_world import write_split
from tests.pipelines.prepare_world import ANN, BEN, GENERAL, GUILD, NOON, PERMITTED, fill, said

LONG = "my grandmother hides the spare key under the third flower pot on the left"
STAFF_TALK = "the committee will announce the new moderators on friday at noon exactly"
STAFF = Channel(id=ChannelId(501), guild_id=GUILD, name="staff", guild_name="the greenhouse", allowed=True)


@pytest.fixture
def training(tmp_path):
    write_split(tmp_path, "train", conversations=3)
    return read_split(tmp_path, "train")


@pytest.fixture
def database(tmp_path):
    messages = [
        said(ANN, LONG, seconds=10),
        said(BEN, STAFF_TALK, seconds=20, channel=STAFF),
        said(BEN, "this was only said much later when nobody could learn it any more", seconds=90_000),
    ]
    return fill(tmp_path / "persona.db", messages, channels=(GENERAL, STAFF), entries=[PERMITTED]), messages


def sample(training, text):
    return training[0].sample((text,))


def test_a_copy_names_the_message_and_where_it_was_said(training, database):
    path, messages = database
    finder = LeakFinder(training, database=path, before=NOON + timedelta(days=1))
    here = finder.copy(sample(training, f"well, {LONG.upper()}!"), "general")
    assert (here.kind, here.source, here.words) == ("copy of a message", f"message {messages[0].id} in #general", 14)
    there = finder.copy(sample(training, STAFF_TALK), "general")
    assert (there.kind, there.source) == ("copy from another channel", f"message {messages[1].id} in #staff")


def test_what_was_said_after_training_cannot_have_been_copied(training, database):
    path, messages = database
    finder = LeakFinder(training, database=path, before=NOON + timedelta(days=1))
    assert finder.copy(sample(training, messages[2].content), "general") is None
    assert LeakFinder(training, database=path).copy(sample(training, messages[2].content), "general") is not None


def test_a_copy_of_training_text_names_the_example(training):
    long = training[0]
    finder = LeakFinder([*training, type(long)(**{**fields(long), "context_id": "ffff", "reply": LONG})])
    found = finder.copy(sample(training, LONG), "general")
    assert (found.kind, found.source) == ("copy of training text", "example ffff")
    assert finder.copy(sample(training, " ".join(LONG.split()[:7])), "general") is None


def test_quoting_what_was_just_said_is_talk(training, database):
    path, _ = database
    finder = LeakFinder(training, database=path)
    asked = type(training[0])(
        **{**fields(training[0]), "turns": (training[0].turns[0], quoted(training[0].turns[1], f"ann: {LONG}"))}
    )
    assert finder.copy(asked.sample((f"what do you mean, {LONG}?",)), "general") is None


def test_personal_data_is_counted_but_not_shown(training):
    finder = LeakFinder(training)
    contender = Contender(
        key="m",
        name="m",
        about="",
        replies=((sample(training, "write to dora.jones@sample-mail.com"), sample(training, "no idea")),),
    )
    leaks, copies, personal = find_leaks(contender, {training[0].context_id: training[0]}, finder)
    assert [(leak.kind, leak.text) for leak in leaks] == [("e-mail address", "")]
    assert [personal(one) for one in contender.all] == [True, False]
    assert not any(map(copies, contender.all))
    assert "dora" not in repr(leaks)


def fields(context):
    return {name: getattr(context, name) for name in type(context).__slots__}


def quoted(turn, line):
    return type(turn)(role=turn.role, lines=(line,))
