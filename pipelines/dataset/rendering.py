"""Renders a reply with what it answers exactly as the running bot would render it for its model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from persona.domain.chat import ChannelId, Message, MessageId
from persona.domain.fitting import charge
from persona.domain.lineage import LineageKey
from persona.domain.prompt import (
    Identity,
    Scene,
    Turn,
    content_lines,
    fit,
    render,
    speaker_names,
    to_chatml,
)
from pipelines.dataset.conversations import Conversation
from pipelines.dataset.example import Example
from pipelines.dataset.targets import Target
from pipelines.dataset.tokens import Tokens

_END_TOKENS = 2
"""`<|im_end|>` and the line break behind a reply."""

_FIT_ATTEMPTS = 6
_SURELY = 0.9
"""Where the charge is below this part of the budget nobody looks closer, which takes longer than everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a conversation took place: what the prompt says of it."""

    channel_name: str
    server: str
    channel_names: Mapping[ChannelId, str]


class ExampleRenderer:
    """Makes examples of targets: their author is the persona, as the model plays it.

    `budget` is the most tokens that prompt and reply may take together; `persona_name` what the persona is called,
    `window` how many messages a prompt may hold.
    """

    def __init__(self, *, tokens: Tokens, key: LineageKey, persona_name: str, budget: int, window: int) -> None:
        self.window = window
        self._tokens = tokens
        self._key = key
        self._name = persona_name
        self._budget = budget

    def scene(self, conversation: Conversation, target: Target, place: Place) -> Scene:
        """Return the scene that its author answered."""
        lines = conversation.lines[target.context_from : target.answered + 1]
        persona = conversation.lines[target.first].answers is not None
        # What the persona said is left out where people are learned from: a model must not learn from itself.
        messages = tuple(line.message for line in lines if persona or line.answers is None)
        here = {message.id for message in messages}
        wanted = {message.reply_to for message in messages if message.reply_to is not None} - here
        return Scene(
            identity=Identity(id=target.author_id, name=self._name, server=place.server),
            messages=messages,
            channel_name=place.channel_name,
            quoted=_quoted(conversation, wanted, persona=persona),
            channel_names=place.channel_names if any("<#" in message.content for message in messages) else {},
        )

    def render(self, conversation: Conversation, target: Target, place: Place) -> Example | None:
        """Return the example; None when the newest message and the reply do not fit into the budget."""
        scene = self.scene(conversation, target, place)
        completion = self._completion(conversation, target, scene)
        completion_tokens = self._tokens.count(completion) + _END_TOKENS
        turns = self._harmless(render(scene))
        fitted = self._fitted(turns, self._budget - completion_tokens)
        if fitted is None or not completion:
            return None
        turns, prompt_tokens = fitted
        lines = conversation.lines[target.first : target.last]
        ids = tuple(line.message.id for line in lines)
        return Example(
            example_id=example_id(self._key, ids),
            author_id=target.author_id,
            channel_id=lines[0].message.channel_id,
            conversation_id=conversation_id(self._key, conversation),
            created_at=lines[0].message.created_at,
            message_ids=ids,
            context_ids=tuple(sorted({*(message.id for message in scene.messages), *scene.quoted})),
            reactions=reaction_count(conversation, target),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            prompt=turns,
            completion=completion,
        )

    def _completion(self, conversation: Conversation, target: Target, scene: Scene) -> str:
        """Return the reply as the renderer would show it later as the persona's own words, attachments left out."""
        said = [line.message for line in conversation.lines[target.first : target.last]]
        mentions = any(message.mentions for message in said)
        names = speaker_names(replace(scene, messages=(*scene.messages, *said))) if mentions else {}
        lines = [
            line
            for message in said
            for line in content_lines(replace(message, attachments=()), scene.channel_names, names)
        ]
        return self._tokens.harmless("\n".join(lines).strip())

    def _harmless(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        """Break up the names of command tokens, line by line as the running bot does; mostly there are none."""
        harmless = self._tokens.harmless
        if harmless(whole := "\n".join(line for turn in turns for line in turn.lines)) == whole:
            return tuple(turns)
        return tuple(replace(turn, lines=tuple(map(harmless, turn.lines))) for turn in turns)

    def _fitted(self, turns: Sequence[Turn], budget: int) -> tuple[tuple[Turn, ...], int] | None:
        """Drop the oldest lines until the prompt takes at most `budget` tokens; return it and what it takes."""
        charged = charge(turns, self._tokens.count)
        if charged <= budget * _SURELY:
            return tuple(turns), charged
        room = budget
        for attempt in range(_FIT_ATTEMPTS):
            kept = fit(turns, room, self._tokens.count)
            if kept is None:
                return None
            taken = len(self._tokens.tokenize(to_chatml(kept)))
            if taken <= budget:
                return kept, taken
            room -= (taken - budget) << attempt
        return None


def _quoted(conversation: Conversation, wanted: Collection[MessageId], *, persona: bool) -> dict[MessageId, Message]:
    if not wanted:
        return {}
    found = {
        line.message.id: line.message
        for line in conversation.lines
        if line.message.id in wanted and (persona or line.answers is None)
    }
    return found | {key: message for key, message in conversation.quoted.items() if key in wanted}


def reaction_count(conversation: Conversation, target: Target) -> int:
    """Return how many reactions a reply got: of its messages, the most liked one counts."""
    lines = conversation.lines[target.first : target.last]
    return max(sum(line.reactions.values()) for line in lines)


def example_id(key: LineageKey, ids: Sequence[MessageId]) -> str:
    """Return the id of an example (16 hexadecimal digits): tells nobody without the key which messages it holds."""
    return _keyed(key, b"example", ids[0])


def conversation_id(key: LineageKey, conversation: Conversation) -> str:
    """Return the id of a conversation (16 hexadecimal digits)."""
    return _keyed(key, b"conversation", conversation.lines[0].message.id)


def _keyed(key: LineageKey, kind: bytes, number: int) -> str:
    data = number.to_bytes(8, "big", signed=True)
    return blake2b(data, key=key.secret, digest_size=8, person=kind).hexdigest()
