"""Lets a model answer the prompts of liked replies, and makes pairs for DPO out of both; goes on where it stopped.

In the run folder:

    preferences/liked.jsonl     from `prepare`: liked replies with their prompts (`Liked`, one a line)
    preferences/replies.jsonl   the model's own replies to those prompts (`Generated`, one a line, as they come)
    preferences/replies.json    what they were written with: they are only gone on with when it is the same
    dpo/<split>.jsonl           the pairs, written whole at the end
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, Any

from persona.domain.prompt import Role, Turn
from persona.errors import PersonaError, PromptTooLongError
from persona.ports import ChatEngine, ChatRequest, Finished, FinishReason, Sampling, TextDelta
from pipelines.preferences.rows import (
    Generated,
    Liked,
    Messages,
    as_json,
    dpo_row,
    generated_from_json,
    liked_from_json,
)

LIKED_FILE = Path("preferences/liked.jsonl")
REPLIES_FILE = Path("preferences/replies.jsonl")
SETTINGS_FILE = Path("preferences/replies.json")
PAIRS_FOLDER = Path("dpo")

_PREPARE = "make the data first: python -m pipelines prepare"
_STOP = ("<|im_end|>", "<|im_start|>")
_BLOCK = 1 << 20
_ENDED = frozenset({FinishReason.END, FinishReason.STOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What came of it: prompts in all, replies that were there before, new ones, prompts that were refused, pairs."""

    prompts: int
    before: int
    written: int
    refused: int
    pairs: Mapping[str, int]


def sample(
    run: Path,
    engine: ChatEngine,
    *,
    sampling: Sampling,
    seed: int,
    slots: int,
    advanced: Callable[[int], None] = lambda _: None,
    resumed: Callable[[int], None] = lambda _: None,
) -> Sampled:
    """Write the model's reply to every liked prompt of a run, then the pairs.

    `resumed` hears how many replies were there before, `advanced` of every new one.

    Each reply is drawn with a seed of its own, made of `seed` and the example's id. What was written before is kept
    when it was written by the same model with the same settings for the same prompts, otherwise it is done again.

    Raises:
        PersonaError: the run has no liked replies, or a file is damaged; names it and the cure.
    """
    prompts = prompts_of(run)
    made_with = _made_with(run, engine, sampling, seed)
    done = _begin(run, made_with)
    resumed(before := len(done))
    written = refused = 0
    with (run / REPLIES_FILE).open("a", encoding="utf-8") as stream:
        waiting = (liked for liked in read_liked(run) if liked.example_id not in done)
        for generated in _generate(engine, waiting, sampling, seed, slots):
            stream.write(as_json(generated) + "\n")
            stream.flush()
            written += 1
            refused += not generated.ended and not generated.text
            advanced(1)
    return Sampled(prompts=prompts, before=before, written=written, refused=refused, pairs=write_pairs(run))


def prompts_of(run: Path) -> int:
    """Return how many liked replies a run has; reads all of them, so that a damaged one shows before any work.

    Raises:
        PersonaError: there is no such file, or a line is damaged.
    """
    if not (run / LIKED_FILE).is_file():
        raise PersonaError(f"{run / LIKED_FILE} is missing", cure=_PREPARE)
    return sum(1 for _ in read_liked(run))


def read_liked(run: Path) -> Iterator[Liked]:
    """Yield the liked replies of a run, one line at a time.

    Raises:
        PersonaError: a line is damaged.
    """
    with (run / LIKED_FILE).open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield liked_from_json(line)
            except ValueError as error:
                raise PersonaError(f"{run / LIKED_FILE}:{number}: {error}", cure=_PREPARE) from None


def write_pairs(run: Path) -> dict[str, int]:
    """Write dpo/<split>.jsonl from the liked and the generated replies; return how many pairs each split has.

    Raises:
        PersonaError: a file is damaged.
    """
    replies = {reply.example_id: reply for reply in _read_replies(run / REPLIES_FILE)}
    folder = run / PAIRS_FOLDER
    folder.mkdir(exist_ok=True)
    pairs = {"train": 0, "validation": 0, "test": 0}
    with ExitStack() as stack:
        drafts = {split: folder / f".{split}.jsonl.part" for split in pairs}
        streams = {split: stack.enter_context(draft.open("w", encoding="utf-8")) for split, draft in drafts.items()}
        for liked in read_liked(run):
            reply = replies.get(liked.example_id)
            row = dpo_row(liked, reply) if reply is not None else None
            if liked.split not in streams:
                raise PersonaError(f"{run / LIKED_FILE}: there is no split {liked.split!r}", cure=_PREPARE)
            if row is not None:
                streams[liked.split].write(json.dumps(row, ensure_ascii=False) + "\n")
                pairs[liked.split] += 1
    for split, draft in drafts.items():
        draft.replace(folder / f"{split}.jsonl")
    return pairs


def turns(prompt: Messages) -> tuple[Turn, ...]:
    """Return the turns whose text is exactly that of chat messages."""
    return tuple(Turn(role=Role(each["role"]), lines=tuple(each["content"].split("\n"))) for each in prompt)


def _generate(
    engine: ChatEngine, waiting: Iterator[Liked], sampling: Sampling, seed: int, slots: int
) -> Iterator[Generated]:
    """Yield replies as they are done, `slots` of them written at a time."""
    numbers = count()
    running: dict[int, tuple[str, list[str]]] = {}
    while True:
        for liked in islice(waiting, slots - len(running)):
            job = next(numbers)
            drawn = replace(sampling, seed=_seed(seed, liked.example_id))
            try:
                engine.submit(job, ChatRequest(turns=turns(liked.prompt), sampling=drawn, stop=_STOP))
            except PromptTooLongError:
                # It gives no reply and no pair for this model's window; that is counted, and the others go on.
                yield Generated(example_id=liked.example_id, text="", ended=False)
            else:
                running[job] = (liked.example_id, [])
        if running:
            yield from _step(engine, running)
        elif (more := next(waiting, None)) is None:
            return
        else:
            waiting = chain((more,), waiting)


def _step(engine: ChatEngine, running: dict[int, tuple[str, list[str]]]) -> Iterator[Generated]:
    """Take the engine one step further; yield the replies that are complete and take them out of `running`."""
    for job, event in engine.step():
        example_id, texts = running[job]
        match event:
            case TextDelta(text=text):
                texts.append(text)
            case Finished(reason=reason, dropped_lines=dropped):
                del running[job]
                # With lines dropped to fit the window it answers another prompt than the person did.
                ended = reason in _ENDED and not dropped
                yield Generated(example_id=example_id, text="".join(texts).strip(), ended=ended)
            case Exception() as error:
                raise error


def _seed(seed: int, example_id: str) -> int:
    return int.from_bytes(blake2b(f"{seed}:{example_id}".encode(), digest_size=4).digest(), "big")


def _made_with(run: Path, engine: ChatEngine, sampling: Sampling, seed: int) -> dict[str, Any]:
    settings = {name: getattr(sampling, name) for name in Sampling.__slots__ if name != "seed"}
    digest = sha256()
    with (run / LIKED_FILE).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return {"model": engine.info.sha256, "sampling": settings, "seed": seed, "liked": digest.hexdigest()}


def _begin(run: Path, made_with: Mapping[str, Any]) -> set[str]:
    """Return the examples that are done; start anew when they were done with anything else."""
    settings, replies = run / SETTINGS_FILE, run / REPLIES_FILE
    wanted = json.dumps(made_with, indent=2, sort_keys=True) + "\n"
    if not settings.is_file() or settings.read_text(encoding="utf-8") != wanted:
        replies.unlink(missing_ok=True)
        draft = settings.with_name(f".{settings.name}.part")
        draft.write_text(wanted, encoding="utf-8")
        draft.replace(settings)
    if not replies.is_file():
        return set()
    with replies.open("r+b") as stream:
        _cut_torn_line(stream)
    return {reply.example_id for reply in _read_replies(replies)}


def _cut_torn_line(stream: IO[bytes]) -> None:
    """Drop what was half written when the program was killed: everything after the last line feed."""
    end = sum(len(line) for line in stream if line.endswith(b"\n"))
    stream.truncate(end)


def _read_replies(file: Path) -> Iterator[Generated]:
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield generated_from_json(line)
            except ValueError as error:
                raise PersonaError(f"{file}:{number}: {error}", cure=f"remove {file} and sample again") from None
