"""The demo model's tokenizer: byte-level BPE with Qwen2's pre-tokenizer, learned from made-up conversations."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from persona.domain.prompt import Role, Turn
from pipelines.demo.conversations import Conversation, make_conversation

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 3072
_CONVERSATIONS = 12_000
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 cuts text before BPE; llama.cpp applies the same under the name `qwen2`."""

_OTHERS_WEIGHT = 0.08
"""What others say counts a little: reading it well helps to copy from it."""


def train_tokenizer(path: Path, seed: int) -> Tokenizer:
    """Learn the vocabulary and save it; the same seed gives the same file."""
    tokenizer = new_tokenizer(_texts(Random(seed)), vocabulary=VOCABULARY)
    tokenizer.save(str(path))
    return tokenizer


def new_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """Learn a vocabulary of so many tokens, the three special ones included, from texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a saved tokenizer."""
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, conversation: Conversation, limit: int) -> tuple[list[int], list[float]]:
    """Return the token ids of a conversation and the weight of each in the loss (1 for Pip's words), cut to a limit.

    The frame is ChatML, as `persona.domain.prompt.to_chatml` writes it.
    """
    ids: list[int] = []
    weights: list[float] = []
    reply = Turn(role=Role.ASSISTANT, lines=(conversation.reply,))
    for turn in (*conversation.turns, reply):
        own = turn.role is Role.ASSISTANT
        head = _ids(tokenizer, f"{TURN_START}{turn.role}\n")
        body = _ids(tokenizer, f"{turn.text}{TURN_END}")
        tail = _ids(tokenizer, "\n")
        ids += [*head, *body, *tail]
        weights += [0.0] * len(head) + [1.0 if own else _OTHERS_WEIGHT] * len(body) + [float(own)] * len(tail)
    return ids[:limit], weights[:limit]


def _ids(tokenizer: Tokenizer, text: str) -> Sequence[int]:
    return list(tokenizer.encode(text).ids)


def _texts(rng: Random) -> Iterator[str]:
    for _ in range(_CONVERSATIONS):
        conversation = make_conversation(rng)
        yield "\n".join((*(turn.text for turn in conversation.turns), conversation.reply))
