"""Writes chat turns the way a model was trained to read them: by the template in its file, or as ChatML."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from persona.domain.prompt import Role, Turn, to_chatml
from persona.errors import InferenceError, ModelFileError

CHATML_COMMANDS = ("<|im_start|>", "<|im_end|>")
_USE_CHATML = 'set [model] template = "chatml", or use another model'
_OPENING = "[earlier]"
"""What stands in for the user's first turn where a template does not let the persona begin."""

Message = dict[str, str]
Adaptation = Callable[[Sequence[Message]], list[Message]]


class ChatTemplate:
    """Renders turns; `name` says which way, `stop` are strings that end a turn although no command token does."""

    def __init__(self, name: str, write: Callable[[Sequence[Turn]], str], stop: tuple[str, ...] = ()) -> None:
        self.name = name
        self.stop = stop
        self._write = write

    def render(self, turns: Sequence[Turn]) -> str:
        """Return the prompt text up to where the model goes on writing.

        Raises:
            InferenceError: the template cannot render these turns.
        """
        return self._write(turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContext:
    """What templates may ask for besides the messages: the names of the text's first and last token, and the date."""

    beginning: str = ""
    end: str = ""
    now: Callable[[], datetime] = datetime.now


def chatml_template(commands: frozenset[str]) -> ChatTemplate:
    """Return ChatML; `commands` are the vocabulary's command tokens, what is missing there becomes a stop string."""
    missing = tuple(text for text in CHATML_COMMANDS if text not in commands)
    return ChatTemplate("chatml", to_chatml, stop=missing)


def choose_template(
    source: str | None, *, commands: frozenset[str], ours: bool, force_chatml: bool, context: TemplateContext
) -> ChatTemplate:
    """Choose how turns are written for a model.

    Args:
        source: the Jinja template in the model file; None when it has none.
        commands: how the vocabulary's command tokens are written.
        ours: whether the model was trained with this project's renderer, which writes ChatML.
        force_chatml: whether the owner asked for ChatML.
        context: what the template may ask for.

    Raises:
        ModelFileError: the template is missing or cannot be used, and ChatML is not evidently right.
    """
    if ours or force_chatml or (source is None and commands.issuperset(CHATML_COMMANDS)):
        return chatml_template(commands)
    if source is None:
        raise ModelFileError("the model file has no chat template", cure=_USE_CHATML)
    return jinja_template(source, context)


def jinja_template(source: str, context: TemplateContext) -> ChatTemplate:
    """Compile a model's own template and find out what it wants: some know no system turn or no talk before the user's.

    Raises:
        ModelFileError: it does not compile, or refuses or loses turns whatever is tried.
    """
    try:
        template = _environment(context).from_string(source)
    except TemplateError as error:
        raise ModelFileError(f"the model's chat template is broken: {error}", cure=_USE_CHATML) from None

    def fill(messages: Sequence[Message]) -> str:
        return template.render(messages=messages, **_variables(context))

    problem = "it loses text"
    for adapt in (_unchanged, _user_first, _without_system):
        try:
            if all(_complete(fill(adapt(probe)), probe) for probe in _probes()):
                return ChatTemplate("model", _writer(fill, adapt))
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            problem = str(error) or type(error).__name__
    raise ModelFileError(f"the model's chat template cannot be used: {problem}", cure=_USE_CHATML)


def _writer(fill: Callable[[Sequence[Message]], str], adapt: Adaptation) -> Callable[[Sequence[Turn]], str]:
    def write(turns: Sequence[Turn]) -> str:
        messages = [{"role": str(turn.role), "content": turn.text} for turn in turns]
        try:
            return fill(adapt(messages))
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise InferenceError(f"the model's chat template failed: {error}", cure=_USE_CHATML) from error

    return write


def _unchanged(messages: Sequence[Message]) -> list[Message]:
    return list(messages)


def _user_first(messages: Sequence[Message]) -> list[Message]:
    """Put a user turn in front of talk that the persona began."""
    system = [m for m in messages if m["role"] == Role.SYSTEM]
    talk = [m for m in messages if m["role"] != Role.SYSTEM]
    if talk and talk[0]["role"] == Role.ASSISTANT:
        talk.insert(0, _message(Role.USER, _OPENING))
    return system + talk


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Say what the system turn says at the beginning of the user's first turn."""
    ordered = _user_first(messages)
    if len(ordered) < 2 or ordered[0]["role"] != Role.SYSTEM:  # noqa: PLR2004 - a system turn and one to take it
        return ordered
    system, first, *rest = ordered
    return [_message(Role.USER, f"{system['content']}\n\n{first['content']}"), *rest]


def _message(role: Role, content: str) -> Message:
    return {"role": str(role), "content": content}


def _probes() -> tuple[list[Message], ...]:
    """Return the shapes of talk that a template has to cope with; every text in them is unlike the others."""
    system, hello = _message(Role.SYSTEM, "probe-rules"), _message(Role.USER, "probe-hello")
    answer, again = _message(Role.ASSISTANT, "probe-answer"), _message(Role.USER, "probe-again")
    return [system, hello, answer, again], [system, answer, hello]


def _complete(text: str, probe: Sequence[Message]) -> bool:
    """Whether a rendered probe still says everything, in order."""
    places = [text.find(message["content"]) for message in probe]
    return all(place >= 0 for place in places) and places == sorted(places)


def _variables(context: TemplateContext) -> Mapping[str, Any]:
    return {
        "add_generation_prompt": True,
        "bos_token": context.beginning,
        "eos_token": context.end,
        "tools": None,
        "documents": None,
        # Thinking aloud would only delay a line of chat; templates of models that can do so look at this.
        "enable_thinking": False,
    }


class _GenerationTag(Extension):
    """Lets `{% generation %}`, which only marks text for training, pass."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Replace the block by what is in it."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(context: TemplateContext) -> ImmutableSandboxedEnvironment:
    """Return what Hugging Face's chat templates expect, in a sandbox: the template comes with a downloaded file."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )

    def fail(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda form: context.now().strftime(form)
    environment.filters["tojson"] = to_json
    return environment
