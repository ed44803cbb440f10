"""Commands: who may use which, and how they are read when they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.chat import Author, AuthorId
from persona.domain.command_line import is_typed_command, parse_prefix, usage
from persona.domain.command_rights import AdminRules, may_use
from persona.domain.command_texts import (
    WHY,
    AboutBot,
    botdata_text,
    for_how_long,
    help_text,
    shown_value,
    standing_text,
)
from persona.domain.commands import (
    COMMANDS,
    SETTING_KEYS,
    Audience,
    Caller,
    OptionKind,
    find_command,
)
from persona.domain.consent import Standing
from persona.domain.speaking import Reason

RULES = AdminRules(author_ids=frozenset({20}), role_ids=frozenset({30}))


def person(number=1, *, bot=False):
    return Author(id=AuthorId(number), name="x", display_name="X", is_bot=bot)


CALLERS = {
    "owner": Caller(author=person(), is_owner=True),
    "configured id": Caller(author=person(20)),
    "configured role": Caller(author=person(), role_ids=frozenset({29, 30})),
    "manage server": Caller(author=person(), may_manage=True, only_server=True),
    "manage server, one of several": Caller(author=person(), may_manage=True),
    "member": Caller(author=person(), role_ids=frozenset({29})),
    "webhook": Caller(author=person(20, bot=True), is_webhook=True, is_owner=True, may_manage=True),
    "webhook that says it is a person": Caller(author=person(20), is_webhook=True, may_manage=True),
    "bot": Caller(author=person(20, bot=True), role_ids=frozenset({30}), is_owner=True, may_manage=True),
}
KEEPERS = {"owner", "configured id", "configured role", "manage server"}
ADMINS = {*KEEPERS, "manage server, one of several"}
MACHINES = {"webhook", "webhook that says it is a person", "bot"}
PUBLIC = {"botdata", "mydata", "optin", "optout", "forget", "quiz", "help"}
DIRECT = {"botdata", "mydata", "optin", "optout", "forget"}
ADMIN = {"status", "settings", "setrate", "settemp", "setmaxlen", "channels", "fetch", "restart", "mute", "unmute"}
ADMIN |= {"why", "consentcard", "quizcard"}
EVERYWHERE = {"status", "settings", "setrate", "settemp", "setmaxlen", "restart"}


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "1e999", "9" * 5000])
def test_a_number_beyond_all_bounds_is_a_wrong_value_and_no_crash(number):
    assert "must be" in parse_prefix(f"!mute {number}", "!").problem


def test_the_matrix_below_is_about_every_command():
    assert {spec.name for spec in COMMANDS} == PUBLIC | ADMIN
    assert len(COMMANDS) == len(PUBLIC | ADMIN)
    for spec in COMMANDS:
        assert (spec.audience is Audience.ADMIN) == (spec.name in ADMIN)
        assert spec.everywhere == (spec.name in EVERYWHERE)
        assert find_command(spec.name) is spec
        assert spec.meaning in {each.name for each in COMMANDS}


@pytest.mark.parametrize("direct", [False, True], ids=["server", "direct message"])
@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.parametrize("name", [spec.name for spec in COMMANDS])
def test_who_may_use_what(name, who, direct):
    verdict = may_use(find_command(name), CALLERS[who], RULES, direct=direct)
    may = KEEPERS if name in EVERYWHERE else ADMINS
    expected = who not in MACHINES and (name in DIRECT if direct else name in PUBLIC or who in may)
    assert verdict.allowed is expected
    # Bots get no answer, people always one.
    assert bool(verdict.why) == (not expected and who not in MACHINES)
    if not direct and name in ADMIN and who in {"member", "manage server, one of several"} and not expected:
        assert ("bot's owner and the admins" if who in ADMINS else "whoever may manage it") in verdict.why


def test_without_rules_only_the_owner_and_managers_are_admins():
    allowed = {who for who, caller in CALLERS.items() if may_use(find_command("restart"), caller, AdminRules()).allowed}
    assert allowed == {"owner", "manage server"}


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("!status", "status", {}),
        ("!STATUS  ", "status", {}),
        ("!settings", "settings", {}),
        ("!settings rate 0.2", "settings", {"name": "rate", "value": "0.2"}),
        ("!settings max_length 20", "settings", {"name": "max-length", "value": "20"}),
        ("!settings temp reset", "settings", {"name": "temperature", "value": "reset"}),
        ('!settings value:"0.2" name:RATE', "settings", {"name": "rate", "value": "0.2"}),
        ('!settings "rate" “nan”', "settings", {"name": "rate", "value": "nan"}),
        ("!setrate 0.5", "setrate", {"value": 0.5}),
        ("!setrate lots", "setrate", {"value": "lots"}),
        ("!setmaxlen 12", "setmaxlen", {"value": 12}),
        ("!setmaxlen 12.5", "setmaxlen", {"value": "12.5"}),
        ("!mute", "mute", {}),
        ("!mute 5", "mute", {"minutes": 5}),
        ("!mute minutes:5", "mute", {"minutes": 5}),
        ("!channels", "channels", {}),
        ("!channels allow #the-garden", "channels", {"action": "allow", "channel": "#the-garden"}),
        ('!channels disable "#a b \\" c"', "channels", {"action": "disable", "channel": '#a b " c'}),
        ("!forget yes", "forget", {"confirm": True}),
        ("!forget no", "forget", {"confirm": False}),
        ("!optout training", "optout", {"what": "training"}),
        ("!status\nand more", "status", None),
    ],
)
def test_typed_commands(text, name, options):
    typed = parse_prefix(text, "!")
    assert typed.spec.name == name
    if options is None:
        assert "one word too many" in typed.problem
    else:
        assert typed.problem == ""
        assert typed.options == options
        assert [type(value) for value in typed.options.values()] == [type(value) for value in options.values()]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!setrate", "value is missing. Write: `!setrate <value>`"),
        ("!mute soon", "minutes must be a whole number from 1 to 10080, not `soon`. Write: `!mute [minutes]`"),
        ("!mute 0", "minutes must be a number from 1 to 10080, not `0`. Write: `!mute [minutes]`"),
        ("!mute nan", "minutes must be a whole number from 1 to 10080, not `nan`. Write: `!mute [minutes]`"),
        ("!mute 5 6", "`6` is one word too many. Write: `!mute [minutes]`"),
        ("!mute minutes:5 minutes:6", "minutes is given twice. Write: `!mute [minutes]`"),
        ("!forget perhaps", "confirm must be yes or no, not `perhaps`. Write: `!forget [yes]`"),
        ('!channels "allow', "A quote is opened but not closed."),
        ("!channels dance", "action must be one of list, allow, disable, not `dance`."),
        ("!settings m 1", "name must be one of"),  # max-length or mentions-only?
        ("!settings `x` 1", "not `'x'`"),
        ("!restart " + "now " * 60, "That is too much at once."),
    ],
)
def test_what_is_wrong_is_said_with_how_to_write_it(text, problem):
    typed = parse_prefix(text, "!")
    assert problem in typed.problem
    assert f"Write: `{usage(typed.spec, '!')}`" in typed.problem
    assert typed.options == {}


@pytest.mark.parametrize(
    "text", ["status", "! status", "!", "!!status", "!statuses", "say !status", "!play", "", "!\n"]
)
def test_what_is_no_command_of_ours_is_talk(text):
    assert parse_prefix(text, "!") is None
    assert not is_typed_command(text, "!")


def test_the_prefix_may_be_longer():
    assert parse_prefix("pip!mute 5", "pip!").options == {"minutes": 5}
    assert parse_prefix("!mute 5", "pip!") is None


@given(st.sampled_from([spec.name for spec in COMMANDS]), st.text(max_size=60))
def test_whatever_is_typed_gives_options_that_fit_or_a_sentence(name, rest):
    typed = parse_prefix(f"!{name} {rest}", "!")
    assert typed is not None
    if typed.problem:
        assert typed.options == {}
        return
    kinds = {OptionKind.WHOLE: int, OptionKind.NUMBER: float, OptionKind.FLAG: bool}
    for option in typed.spec.options:
        value = typed.options.get(option.name)
        if value is None:
            assert not option.required
        elif option.choices:
            assert value in option.choices
        elif not option.setting:
            assert type(value) is kinds.get(option.kind, str)
        if option.least is not None and value is not None:
            assert option.least <= value <= option.most


def test_help_fits_the_reader_and_names_every_command():
    about = AboutBot(name="Pip", prefix="?")
    text = help_text(COMMANDS, about)
    assert all(f"/{spec.name}" in text for spec in COMMANDS)
    assert "`?` instead" in text
    assert "Short for settings" not in help_text([find_command("optin")], about)


def test_every_reason_has_words():
    assert set(WHY) == set(Reason)


def test_every_setting_of_the_commands_is_one_of_the_schema():
    from persona.config_tables import sections

    for key in SETTING_KEYS.values():
        table, _, name = key.partition(".")
        assert name in sections()[table].model_fields


def test_botdata_says_where_whom_to_ask_and_what_holds():
    about = AboutBot(name="Pip", contact="mara@example.org")
    text = botdata_text(about, [], held=Standing(store=False), memory=False, direct=False)
    assert "No channel at the moment" in text
    assert "mara@example.org" in text
    assert "nothing you say is kept" in text
    assert "older talk" not in text
    assert len(text) < 2000
    without = botdata_text(AboutBot(name="Pip"), [], held=None, memory=True, direct=False)
    assert "people who look after this server" in without
    assert "older talk" in without
    assert "You:**" not in without


def test_small_words():
    assert [for_how_long(n) for n in (-1, 59.9, 60, 3599, 3600, 90_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "1 h 0 min",
        "1 d 1 h",
    ]
    assert [shown_value(one) for one in (True, False, 0.30000000000000004, 1.0, 120)] == [
        "yes",
        "no",
        "0.3",
        "1",
        "120",
    ]
    assert "may not be trained" in standing_text(Standing())
    assert "may be trained" in standing_text(Standing(train=True))
