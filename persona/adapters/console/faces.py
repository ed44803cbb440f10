"""How the conversation looks in the terminal: for people, and for programs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Protocol

from persona.domain.prompt import shorten
from persona.ports import Outcome


class Face(Protocol):
    """How the conversation looks: for people, or for programs."""

    def prompt(self) -> None:
        """Invite the next line."""
        ...

    def says(self, text: str) -> None:
        """Show one message of the persona as it is sent."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Show what became of a line once it is dealt with."""
        ...

    def why(self, outcome: Outcome | None) -> None:
        """Answer `/why`."""
        ...

    def note(self, text: str) -> None:
        """Show a word from the program itself."""
        ...


@dataclass(slots=True, kw_only=True)
class PlainFace:
    """For people: `name: text`, and a short banner's worth of explanations."""

    out: IO[str]
    name: Callable[[], str]
    interactive: bool

    def prompt(self) -> None:
        """Show where to type, on a terminal only."""
        if self.interactive:
            print("> ", end="", file=self.out, flush=True)

    def says(self, text: str) -> None:
        """Print one message; further lines are indented under the first."""
        self._print(f"{self.name()}: " + text.replace("\n", "\n  "))

    def outcome(self, outcome: Outcome) -> None:
        """Say so when a line that should have been answered was not."""
        if outcome.decision.speak and not outcome.texts:
            self._print(f"({self.name()} has no answer: {outcome.result})")

    def why(self, outcome: Outcome | None) -> None:
        """Explain the last decision in a few lines."""
        self._print("\n".join(explain(outcome)) if outcome else "(nothing has been said yet)")

    def note(self, text: str) -> None:
        """Print the program's own words."""
        self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)


@dataclass(slots=True, kw_only=True)
class JsonFace:
    """For programs: one JSON object a reply, on one line."""

    out: IO[str]
    name: Callable[[], str]

    def prompt(self) -> None:
        """Programs need no invitation."""

    def says(self, text: str) -> None:
        """Wait for the outcome: it holds every message."""

    def outcome(self, outcome: Outcome) -> None:
        """Print the reply, or why one that should have come did not."""
        if outcome.texts or outcome.decision.speak:
            self._print(reply_object(outcome, self.name()))

    def why(self, outcome: Outcome | None) -> None:
        """Print the explanation as an object."""
        self._print({"why": explain(outcome) if outcome else []})

    def note(self, text: str) -> None:
        """Print the program's own words as an object."""
        self._print({"note": text})

    def _print(self, value: object) -> None:
        print(json.dumps(value, ensure_ascii=False), file=self.out, flush=True)


def reply_object(outcome: Outcome, name: str) -> dict[str, object]:
    """Return what `--json` prints for one reply; `error` is null when it was sent."""
    finished = outcome.finished
    return {
        "name": name,
        "text": "\n".join(outcome.texts),
        "messages": list(outcome.texts),
        "answers": outcome.arrival.message.author.display_name,
        "reason": str(outcome.decision.reason),
        "error": None if outcome.texts else outcome.result,
        "remembered": [
            {"author": r.author_name, "at": r.created_at.isoformat(), "text": r.text} for r in outcome.recollections
        ],
        "prompt_tokens": finished.prompt_tokens if finished else 0,
        "completion_tokens": finished.completion_tokens if finished else 0,
        "retries": outcome.retries,
        "stage_ms": dict(outcome.stage_ms),
    }


def explain(outcome: Outcome) -> list[str]:
    """Return the lines of `/why`: the decision, the result, memory, timings."""
    lines = [outcome.decision.explain()]
    if outcome.decision.speak:
        again = f" (after {outcome.retries} more try)" if outcome.retries else ""
        lines.append(f"result: {outcome.result}{again}")
    if outcome.recollections:
        lines.append("what came to mind:")
        lines += [
            f"  {r.created_at:%Y-%m-%d} {r.author_name}: {shorten(r.text, 80)}  (score {r.score:.2f})"
            for r in outcome.recollections
        ]
    elif outcome.decision.speak:
        lines.append("nothing came to mind from history")
    if outcome.stage_ms:
        lines.append("time: " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in outcome.stage_ms.items()))
    if finished := outcome.finished:
        lines.append(
            f"tokens: {finished.prompt_tokens} read ({finished.cached_tokens} from cache, "
            f"{finished.dropped_lines} old lines left out), {finished.completion_tokens} written"
        )
    return lines
