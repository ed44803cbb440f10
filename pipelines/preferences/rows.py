"""The rows that preference training reads, in the conversational form of TRL, and what they are made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.preferences.verdicts import Verdict

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Liked:
    """A reply of a person that was liked, with the very prompt it answers; `split` names the file it goes to."""

    example_id: str
    split: str
    prompt: Messages
    chosen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What the model wrote; `ended` tells whether it saw the whole prompt and came to an end by itself."""

    example_id: str
    text: str
    ended: bool


def dpo_row(liked: Liked, generated: Generated) -> dict[str, Any] | None:
    """Return prompt, chosen (the person's reply) and rejected (the model's); None when they make no pair.

    They make none when the model wrote nothing, wrote the same, was cut off (the pair would teach to stop early), or
    did not see the whole prompt.

    Raises:
        ValueError: they answer different prompts.
    """
    if liked.example_id != generated.example_id:
        raise ValueError(f"example {liked.example_id} was paired with the reply to {generated.example_id}")
    if not generated.ended or _bare(generated.text) in {"", _bare(liked.chosen)}:
        return None
    return {
        "prompt": [dict(message) for message in liked.prompt],
        "chosen": _reply(liked.chosen),
        "rejected": _reply(generated.text),
    }


def kto_row(prompt: Messages, completion: str, verdict: Verdict) -> dict[str, Any] | None:
    """Return prompt, completion and label; None when the verdict is none.

    Silence where others usually react is a weak negative, and a negative all the same: balance the two sides with
    class weights when training.
    """
    match verdict:
        case Verdict.LIKED:
            label = True
        case Verdict.DISLIKED | Verdict.IGNORED:
            label = False
        case _:
            return None
    return {"prompt": [dict(message) for message in prompt], "completion": _reply(completion), "label": label}


def as_json(record: Liked | Generated) -> str:
    """Return a record as one line of JSON; equal records give equal lines."""
    match record:
        case Liked():
            fields: dict[str, Any] = {
                "example_id": record.example_id,
                "split": record.split,
                "prompt": [dict(message) for message in record.prompt],
                "chosen": record.chosen,
            }
        case Generated():
            fields = {"example_id": record.example_id, "text": record.text, "ended": record.ended}
    return json.dumps(fields, ensure_ascii=False)


def liked_from_json(line: str) -> Liked:
    """Return the record that `as_json` made into a line.

    Raises:
        ValueError: it is something else; says what is wrong.
    """
    fields = _fields(line, {"example_id": str, "split": str, "prompt": list, "chosen": str})
    for message in fields["prompt"]:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError("the prompt holds something that is no chat message")
    return Liked(
        example_id=fields["example_id"],
        split=fields["split"],
        prompt=tuple({"role": message["role"], "content": message["content"]} for message in fields["prompt"]),
        chosen=fields["chosen"],
    )


def generated_from_json(line: str) -> Generated:
    """Return the record that `as_json` made into a line.

    Raises:
        ValueError: it is something else; says what is wrong.
    """
    fields = _fields(line, {"example_id": str, "text": str, "ended": bool})
    return Generated(example_id=fields["example_id"], text=fields["text"], ended=fields["ended"])


def _fields(line: str, types: Mapping[str, type]) -> dict[str, Any]:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for every bad line
    for name, kind in types.items():
        if not isinstance(fields.get(name), kind):
            raise ValueError(f"{name!r} is missing or of the wrong kind")  # noqa: TRY004 - as above
    return fields


def _reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _bare(text: str) -> str:
    return " ".join(text.split()).casefold()
