from datetime import UTC, datetime

import pytest

from persona.adapters.llama.template import CHATML_COMMANDS, TemplateContext, choose_template, jinja_template
from persona.domain.prompt import Role, Turn, to_chatml
from persona.errors import InferenceError, ModelFileError

CONTEXT = TemplateContext(beginning="<s>", end="</s>", now=lambda: datetime(2026, 5, 4, tzinfo=UTC))
COMMANDS = frozenset(CHATML_COMMANDS)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATING = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set rules = messages[0]['content'] %}
{%- else %}{% set loop_messages = messages %}{% set rules = '' %}{% endif %}
{%- for m in loop_messages %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- if m['role'] == 'user' %}[INST] {{ rules ~ ' ' if loop.first and rules }}{{ m['content'] }} [/INST]
{%- else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"""
NO_SYSTEM = """{{ bos_token }}{% for m in messages %}
{%- if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
LOSES_SYSTEM = "{% for m in messages if m['role'] != 'system' %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def turns(*spoken):
    return [Turn(role=role, lines=(text,)) for role, text in spoken]


TALK = turns((Role.SYSTEM, "be kind"), (Role.USER, "ann: hey"), (Role.ASSISTANT, "hi"), (Role.USER, "ann: how"))
BEGUN = turns((Role.SYSTEM, "be kind"), (Role.ASSISTANT, "anybody here"), (Role.USER, "ann: yes"))


def test_a_chatml_template_writes_what_our_renderer_writes():
    template = jinja_template(CHATML, CONTEXT)
    assert template.name == "model"
    assert template.render(TALK) == to_chatml(TALK)
    assert template.render(BEGUN) == to_chatml(BEGUN)


def test_a_template_that_demands_alternation_gets_an_opening_turn():
    template = jinja_template(ALTERNATING, CONTEXT)
    assert template.render(TALK) == "<s>[INST] be kind ann: hey [/INST]hi</s>[INST] ann: how [/INST]"
    assert template.render(BEGUN).startswith("<s>[INST] be kind [earlier] [/INST]anybody here</s>")


def test_a_template_without_system_turns_gets_the_rules_in_the_first_user_turn():
    template = jinja_template(NO_SYSTEM, CONTEXT)
    assert template.render(TALK).startswith("<s><start_of_turn>user\nbe kind\n\nann: hey<end_of_turn>\n")
    assert template.render(BEGUN).startswith("<s><start_of_turn>user\nbe kind\n\n[earlier]<end_of_turn>\n")
    assert template.render(TALK).endswith("<start_of_turn>model\n")


def test_a_template_that_silently_drops_the_rules_is_helped_too():
    assert "be kind" in jinja_template(LOSES_SYSTEM, CONTEXT).render(TALK)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for m in messages %}", "broken"),
        ("{{ raise_exception('only tools') }}", "only tools"),
        ("hello", "loses text"),
        ("{{ messages[0].nothing.at.all }}", "cannot be used"),
        ("{{ ''.__class__.__mro__ }}", "cannot be used"),
    ],
)
def test_an_unusable_template_names_the_cure(source, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        jinja_template(source, CONTEXT)
    assert 'template = "chatml"' in caught.value.cure


def test_templates_get_the_date_json_and_loop_controls():
    source = (
        "{{ strftime_now('%d %b %Y') }}|{{ {'a': 'é'} | tojson }}|"
        "{% for m in messages %}{% generation %}{{ m.content }};{% endgeneration %}{% if false %}{% break %}{% endif %}"
        "{% endfor %}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    text = jinja_template(source, CONTEXT).render(TALK)
    assert text == '04 May 2026|{"a": "é"}|be kind;ann: hey;hi;ann: how;<think></think>'


def test_a_template_that_fails_on_later_turns_fails_that_request_only():
    limit = "{% if messages | length > 4 %}{{ raise_exception('too long') }}{% endif %}"
    source = limit + CHATML
    template = jinja_template(source, CONTEXT)
    assert template.render(TALK)
    with pytest.raises(InferenceError, match="too long"):
        template.render([*TALK, *TALK[2:]])


@pytest.mark.parametrize(
    ("source", "ours", "forced", "name"),
    [
        (NO_SYSTEM, False, False, "model"),
        (NO_SYSTEM, True, False, "chatml"),
        (NO_SYSTEM, False, True, "chatml"),
        (None, False, False, "chatml"),
    ],
)
def test_which_template_is_chosen(source, ours, forced, name):
    chosen = choose_template(source, commands=COMMANDS, ours=ours, force_chatml=forced, context=CONTEXT)
    assert chosen.name == name


def test_no_template_and_no_chatml_vocabulary_needs_a_decision():
    with pytest.raises(ModelFileError, match="no chat template"):
        choose_template(None, commands=frozenset({"</s>"}), ours=False, force_chatml=False, context=CONTEXT)
    forced = choose_template(None, commands=frozenset({"</s>"}), ours=False, force_chatml=True, context=CONTEXT)
    assert forced.stop == CHATML_COMMANDS
    proper = choose_template(None, commands=COMMANDS, ours=False, force_chatml=False, context=CONTEXT)
    assert proper.stop == ()
