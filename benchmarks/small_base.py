"""Makes a small base model from openly licensed chat, for measuring the pipelines where no hub can be reached.

    python benchmarks/small_base.py ./small-base --data ../shared/data --minutes 40

It is a Qwen2 of three million parameters in Hugging Face's layout (`[training] base = "./small-base"`): trained on the
older half of one channel as plain text, so that it knows English, and on other channels as conversations in ChatML, so
that it takes turns but talks like somewhere else. It stands in for an instruct model; it is none. Needs the extra
`train`. Ends after so many minutes, with the same seed on the same data in the same order.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import torch
from rich.progress import Progress
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.demo.tokenizer import END_OF_TEXT, TURN_END, new_tokenizer

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN, TALKS = "irc-commons.ubuntu", ("irc-commons.stripe", "irc-commons.ubuntu-meeting")
VOCABULARY = 4096
_LINES_IN_TALK = 8
_TALKING_SHARE = 0.3
_PEAK = 2e-3
_WARM_UP_SHARE = 0.03

Line = tuple[str, str]


def lines_of(data: Path, name: str) -> list[Line]:
    """Return who said what in a channel, oldest first."""
    with gzip.open(data / "jsonl" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return [(record["author_name"], record["content"]) for record in records if record["content"].strip()]


def plain_texts(lines: Sequence[Line], rng: Random) -> Iterator[str]:
    """Yield pieces of a channel as plain text, from anywhere in it, without end."""
    while True:
        start = rng.randrange(max(1, len(lines) - 12))
        yield "".join(f"{name}: {text}\n" for name, text in lines[start : start + 12])


def conversations(channels: Sequence[Sequence[Line]], rng: Random) -> Iterator[list[dict[str, str]]]:
    """Yield conversations in which the last one who spoke is the model, without end."""
    while True:
        lines = rng.choice(channels)
        start = rng.randrange(max(1, len(lines) - _LINES_IN_TALK))
        *said, (name, reply) = lines[start : start + rng.randrange(2, _LINES_IN_TALK)]
        yield [
            {"role": "system", "content": f"You are {name}, a regular here."},
            {"role": "user", "content": "\n".join(f"{who}: {text}" for who, text in said)},
            {"role": "assistant", "content": reply},
        ]


def new_model(vocabulary: int, context: int) -> Qwen2ForCausalLM:
    """Return a Qwen2 with random weights."""
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config).to(torch.float32)


class Batches:
    """Makes batches of token ids (rows x width), packed without padding."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, data: Path, *, rows: int, width: int, seed: int) -> None:
        self._tokenizer, self._shape, self._rng = tokenizer, (rows, width), Random(seed)
        lines = lines_of(data, PLAIN)
        self._plain = plain_texts(lines[: len(lines) // 2], self._rng)
        self._talks = conversations([lines_of(data, name) for name in TALKS], self._rng)

    def next(self) -> torch.Tensor:
        """Return the next batch."""
        rows, width = self._shape
        return torch.tensor([self._row(width) for _ in range(rows)])

    def _row(self, width: int) -> list[int]:
        talking = self._rng.random() < _TALKING_SHARE
        ids: list[int] = []
        while len(ids) < width:
            if talking:
                text = self._tokenizer.apply_chat_template(next(self._talks), tokenize=False)
            else:
                text = next(self._plain) + END_OF_TEXT
            ids += self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[:width]


def rate(done: float) -> float:
    """Return the learning rate when a share (0..1) of the time is over: a short warm-up, then straight down."""
    return _PEAK * min(done / _WARM_UP_SHARE, 1.0) * (1.0 - 0.95 * done)


def train(model: Qwen2ForCausalLM, batches: Batches, seconds: float) -> list[float]:
    """Train for so many seconds; return the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK, weight_decay=0.05, betas=(0.9, 0.95))
    losses: list[float] = []
    began = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task("training", total=1.0)
        while (done := (time.monotonic() - began) / seconds) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate(done)
            ids = batches.next()
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            progress.update(task, completed=done, description=f"step {len(losses)}, loss {losses[-1]:.3f}")
            if len(losses) % 100 == 0:
                print(f"step {len(losses)}: loss {sum(losses[-100:]) / 100:.3f}", file=sys.stderr)
    return losses


def learned_tokenizer(data: Path, seed: int) -> Tokenizer:
    """Learn the vocabulary from what the model reads."""
    rng = Random(seed)
    lines = lines_of(data, PLAIN)
    pieces = plain_texts(lines[: len(lines) // 2], rng)
    others = [f"{name}: {text}" for channel in TALKS for name, text in lines_of(data, channel)]
    return new_tokenizer([*others, *(next(pieces) for _ in range(5_000))], vocabulary=VOCABULARY)


def main() -> None:
    """Train and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned_tokenizer(arguments.data, arguments.seed), eos_token=TURN_END, pad_token=END_OF_TEXT
    )
    tokenizer.chat_template = TEMPLATE
    model = new_model(len(tokenizer), arguments.context)
    batches = Batches(tokenizer, arguments.data, rows=12, width=384, seed=arguments.seed)
    losses = train(model, batches, 60 * arguments.minutes)
    model.save_pretrained(arguments.target)
    tokenizer.save_pretrained(arguments.target)
    parameters = sum(weight.numel() for weight in model.parameters())
    last = losses[-50:]
    print(f"{parameters:,} parameters, {len(losses)} steps, loss {losses[0]:.2f} -> {sum(last) / len(last):.3f}")


if __name__ == "__main__":
    main()
