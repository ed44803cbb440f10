"""Cuts texts into batches in which little is padding.

A model pads each text of a batch to the longest one: in a chat, where most messages are short and a few are long,
batches in the order of the messages are mostly padding.
"""

from collections.abc import Iterator, Sequence

TOKENS_AT_ONCE = 256
"""Tokens of one batch, with padding: more are not faster on a CPU, and a question waits for as long as one takes."""


def batches_by_length(lengths: Sequence[int], *, tokens: int = TOKENS_AT_ONCE) -> Iterator[tuple[int, ...]]:
    """Yield the positions of texts (of so many tokens each) in batches, the shortest texts first.

    A batch holds at most `tokens` tokens with its padding (a longer text is a batch of its own); every position comes
    exactly once.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        # What comes later is longer: it decides how far all of the batch is padded.
        if batch and lengths[position] * (len(batch) + 1) > tokens:
            yield tuple(batch)
            batch = []
        batch.append(position)
    if batch:
        yield tuple(batch)
