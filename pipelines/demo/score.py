"""`python -m pipelines demo-score`: lets a demo model answer fresh conversations through the live engine, counts."""

import argparse
import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.errors import EXIT_DONE
from persona.ports import ChatEngine, ChatRequest, Finished, FinishReason, Sampling, TextDelta
from pipelines.demo.conversations import Conversation, make_conversation

_SAME_INTENT = 0.75
"""How alike (0..1, by matching blocks) an answer and an accepted one must be to count as the same intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is right about one answer: its form, what it is about, and every word of it."""

    intent: str
    well_formed: bool
    right_intent: bool
    word_for_word: bool


def judge(conversation: Conversation, answer: str, *, finished: bool) -> Verdict:
    """Compare an answer with all accepted ones."""
    said = answer.strip().casefold()
    accepted = [text.casefold() for text in conversation.accepted]
    likeness = max((difflib.SequenceMatcher(None, said, text).ratio() for text in accepted), default=0.0)
    return Verdict(
        intent=conversation.intent,
        well_formed=finished and bool(said) and "[now]" not in said and "<|" not in said,
        right_intent=likeness >= _SAME_INTENT,
        word_for_word=said in accepted,
    )


def answers(engine: ChatEngine, conversations: Sequence[Conversation]) -> list[tuple[str, bool]]:
    """Let the engine answer each conversation greedily; return each text and whether it ended by itself."""
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=60)
    given = []
    for job, conversation in enumerate(conversations):
        engine.submit(job, ChatRequest(turns=conversation.turns, sampling=sampling))
        text, ended = "", False
        while engine.busy:
            for _, event in engine.step():
                match event:
                    case TextDelta(text=more):
                        text += more
                    case Finished(reason=reason):
                        ended = reason is FinishReason.END
                    case Exception() as error:
                        raise error
        given.append((text, ended))
    return given


def score(model: Path, conversations: int, seed: int, threads: int) -> list[Verdict]:
    """Score a model file on so many conversations made from a seed that was not trained on."""
    settings = LlamaSettings(path=model, slots=1, threads=threads)
    rng = Random(f"score {seed}")
    talks = [make_conversation(rng) for _ in range(conversations)]
    engine = llama_engine_factory(settings, check_model(settings))()
    try:
        given = answers(engine, talks)
    finally:
        engine.close()
    return [judge(talk, text, finished=ended) for talk, (text, ended) in zip(talks, given, strict=True)]


def run(arguments: argparse.Namespace) -> int:
    """Score a model, print a table; return the exit code."""
    from rich.console import Console  # noqa: PLC0415 - only to print
    from rich.table import Table  # noqa: PLC0415 - only to print

    verdicts = score(arguments.model, arguments.conversations, arguments.seed, arguments.threads)
    table = Table("what was said", "times", "well-formed", "right intent", "word for word")
    common = [intent for intent, _ in Counter(v.intent for v in verdicts).most_common(12)]
    groups = [(intent, [v for v in verdicts if v.intent == intent]) for intent in common]
    for name, group in (*groups, ("everything", verdicts)):
        shares = [
            f"{sum(values) / len(group):.0%}"
            for values in zip(*((v.well_formed, v.right_intent, v.word_for_word) for v in group), strict=True)
        ]
        table.add_row(name, str(len(group)), *shares)
    Console().print(table)
    return EXIT_DONE
