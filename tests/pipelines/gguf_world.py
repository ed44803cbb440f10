"""Tiny models of the three architectures, randomly initialised, with tokenizers like the real ones'."""

import json

from tests.pipelines.training_world import END, TEMPLATE, TURN_END, TURN_START

SPLITS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
}
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def write_model(folder, kind="qwen2", *, split="qwen2", dtype="float32", rows=None, shard="5GB", seed=3, **more):
    """Write a model folder; `kind` is qwen2, qwen3, llama or mistral; `rows` of word embeddings (the vocabulary's)."""
    import torch
    import transformers

    tokenizer = write_tokenizer(folder, split)
    transformers.set_seed(seed)
    name = kind.capitalize()
    config = getattr(transformers, f"{name}Config")(vocab_size=rows or len(tokenizer), **(SHAPE | more))
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for weight in model.parameters():  # far from zero, so that every matrix has a say in the logits
            weight.normal_(std=weight.shape[1] ** -0.5) if weight.ndim > 1 else weight.add_(
                torch.randn_like(weight) * 0.1
            )
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return folder


def write_tokenizer(folder, split):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLITS[split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[END, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ["what about the 1234 roses in 2026?", "I'm sure they're lovely\n\n  don't you think", "tea & bread 💡 ÄÖÜ"]
    words.train_from_iterator(texts * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=TURN_END, pad_token=END)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def edit_json(file, **changes):
    content = json.loads(file.read_text(encoding="utf-8"))
    content.update(changes)
    file.write_text(json.dumps(content), encoding="utf-8")
