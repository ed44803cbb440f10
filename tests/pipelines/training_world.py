"""A tiny Qwen2 with a tokenizer of its own, and the data of a run folder: enough to train on in seconds."""

import json
from pathlib import Path
from random import Random

END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = {"role": "system", "content": "You are Pip, a regular of the garden, in #general."}
THINGS = ("roses", "tea", "rain", "bread", "moss", "cats", "snow", "figs")


def exchange(rng):
    thing = rng.choice(THINGS)
    prompt = [SYSTEM, {"role": "user", "content": f"ann: what about {thing}?"}]
    return thing, prompt


def sft_row(rng):
    thing, prompt = exchange(rng)
    return {"prompt": prompt, "completion": [answer(f"{thing} are lovely, {thing} forever")]}


def dpo_row(rng):
    thing, prompt = exchange(rng)
    return {
        "prompt": prompt,
        "chosen": [answer(f"{thing} are lovely, {thing} forever")],
        "rejected": [answer(f"as a model i cannot say much on {thing}")],
    }


def kto_row(rng):
    thing, prompt = exchange(rng)
    label = rng.random() < 0.6
    text = f"{thing} are lovely, {thing} forever" if label else f"as a model i cannot say much on {thing}"
    return {"prompt": prompt, "completion": [answer(text)], "label": label}


def answer(text):
    return {"role": "assistant", "content": text}


MAKERS = {"sft": sft_row, "dpo": dpo_row, "kto": kto_row}


def write_run(run: Path, *, train=48, validation=8, kinds=("sft", "dpo", "kto")):
    for kind in kinds:
        rng = Random(f"7/{kind}")
        (run / kind).mkdir(parents=True)
        for split, count in (("train", train), ("validation", validation)):
            rows = [MAKERS[kind](rng) for _ in range(count)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (run / kind / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return run


def write_tiny_qwen2(folder: Path):
    """Write a Qwen2 of about 90,000 parameters, randomly initialised, as Hugging Face lays a model out."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = Random(3)
    texts = [json.dumps(dpo_row(rng)) for _ in range(200)]
    words.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=TURN_END, pad_token=END)
    tokenizer.chat_template = TEMPLATE
    set_seed(5)
    config = Qwen2Config(
        vocab_size=words.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config).to(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
