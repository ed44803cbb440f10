"""A run folder as `prepare` leaves it, with made-up people whose replies pick up what was said before them."""

import json
import random
from datetime import UTC, datetime, timedelta

from tests.fakes.dialogues import ATTIC, OFFICE, lines, thing

SYSTEM = "You are Pip, a regular of the attic, in #general."
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ROOTS, _ENDS = ("zib", "frob", "wug", "snor", "quib", "plim", "drax", "vort"), ("ble", "noo", "kin", "ity", "ax", "um")
SLANG = tuple(root + end for root in _ROOTS for end in _ENDS)
NAMES = ("ann", "ben", "cleo", "dora", "emil")


def exchange(chance, phrases):
    """Return a line and the reply to it: both speak of the same thing."""
    subject = f"{thing(chance)}{thing(chance)}"
    asked = f"{chance.choice(phrases)} {subject}"
    burst = chance.choices((1, 2), (3, 1))[0]
    said = [chance.choice(phrases) for _ in range(burst)]
    said[0] = f"{said[0]} {subject}"
    if chance.random() < 0.3:
        said[-1] = f"{said[-1]} {thing(chance)}"
    if phrases == lines(ATTIC) and chance.random() < 0.9:
        said[-1] = f"{chance.choice(SLANG)} {said[-1]}"
    return asked, "\n".join(said)


def write_split(run, split, *, conversations, replies=9, seed=1, phrases=ATTIC, start=NOON):
    """Write sft and meta of a split; return how many examples it has."""
    chance, known = random.Random(f"{seed} {split}"), lines(phrases)
    rows, told = [], []
    for talk in range(conversations):
        for number in range(replies):
            asked, said = exchange(chance, known)
            prompt = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{chance.choice(NAMES)}: {asked}"},
            ]
            rows.append({"prompt": prompt, "completion": [{"role": "assistant", "content": said}]})
            at = start + timedelta(hours=3 * talk, minutes=number)
            told.append(
                {
                    "example_id": f"{seed:02x}{split[0].encode().hex()}{talk:06x}{number:02x}",
                    "conversation_id": f"{split}{talk:06}",
                    "created_at": at.isoformat(),
                    **({} if split == "train" else {"marks": [f"{len(told):016x}", f"{len(told):015x}f"]}),
                }
            )
    for folder, content in (("sft", rows), ("meta", told)):
        (run / folder).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in content)
        (run / folder / f"{split}-00000.jsonl").write_text(text, encoding="utf-8")
    return len(rows)


def write_run(run, *, conversations=30, training=90, seed=1, phrases=ATTIC):
    """Write a whole run: what was said earlier to train on, the newest held out."""
    write_split(run, "train", conversations=training, seed=seed, phrases=phrases)
    later = NOON + timedelta(days=60)
    write_split(run, "validation", conversations=conversations, seed=seed, phrases=phrases, start=later)
    write_split(run, "test", conversations=conversations, seed=seed, phrases=phrases, start=later + timedelta(days=30))
    return run


__all__ = ["ATTIC", "NOON", "OFFICE", "SYSTEM", "write_run", "write_split"]
