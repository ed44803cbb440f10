"""A small server whose history teaches a tiny model something in seconds: questions about things, fond answers."""

from pathlib import Path
from random import Random

from tests.pipelines.prepare_world import ANN, BEN, CAT, DAN, fill, reaction, said
from tests.pipelines.training_world import THINGS, write_tiny_qwen2

OWN = "their data packages"


def garden_talk(*, questions=220, seed=5):
    """Return messages and reactions: somebody asks about a thing, somebody else answers, some answers are liked.

    The last words of a liked answer are always the same, so that preferences have something to teach, too.
    """
    rng = Random(seed)
    messages, reactions = [], []
    for number in range(questions):
        start = 4000 * number
        asking, answering = rng.sample((ANN, BEN, CAT, DAN), 2)
        thing, other = rng.sample(THINGS, 2)
        liked = rng.random() < 0.45
        ending = f"{thing} forever" if liked else rng.choice((f"all of the {thing}", f"more {thing} please"))
        messages += [
            said(asking, f"what about {thing} and {other}?", seconds=start),
            said(answering, f"{thing} and {other} are lovely, {ending}", seconds=start + 20),
        ]
        if liked:
            reactions.append(reaction(messages[-1], 5))
        elif rng.random() < 0.4:
            reactions.append(reaction(messages[-1], 2))
    return messages, reactions


def write_garden(path, **options):
    """Write the history as what its people exported themselves: no permission is needed."""
    messages, reactions = garden_talk(**options)
    return fill(path, messages, reactions=reactions, own=OWN)


def write_talking_qwen2(folder: Path, *, steps=160):
    """Write the tiny Qwen2 after a short training of all its weights: it takes turns, and answers like a manual."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # so small a model only waits for other threads
    write_tiny_qwen2(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    rng = Random(11)
    for _ in range(steps):
        texts = [tokenizer.apply_chat_template(_manual(rng), tokenize=False) for _ in range(8)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def _manual(rng):
    """Return a conversation as the base knows them."""
    name = rng.choice(("ann", "ben", "cat", "dan"))
    thing, other = rng.sample(THINGS, 2)
    said_before = "".join(
        f"{rng.choice(('ann', 'ben'))}: {rng.choice(THINGS)} are lovely\n" for _ in range(rng.randrange(2))
    )
    return [
        {"role": "system", "content": "You are Pip, a regular of the greenhouse, in #general."},
        {"role": "user", "content": f"{said_before}{name}: what about {thing} and {other}?"},
        {"role": "assistant", "content": f"as a model i cannot say much on {thing}"},
    ]
