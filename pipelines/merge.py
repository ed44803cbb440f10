"""Merges a trained adapter into its base model in 16 bits: what preferences are trained on and what is exported."""

import shutil
from pathlib import Path

from persona.errors import ModelFileError
from pipelines.train.files import flush_folder


def merge_adapter(base: Path, adapter: Path, output: Path) -> Path:
    """Write base plus adapter as a model folder with its tokenizer, whole or not at all; return `output`.

    The base is loaded in 16 bits, not in the 4 bits it may have been trained on, so the result differs slightly from
    what training saw: judge the exported file, not the adapter. Weights are bfloat16 unless the base is float16.

    Raises:
        ModelFileError: the adapter cannot be put on this base.
    """
    import torch  # noqa: PLC0415 - seconds to load, and an extra
    from peft import PeftModel  # noqa: PLC0415 - as above
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - as above

    kept = getattr(AutoConfig.from_pretrained(base, local_files_only=True), "dtype", None)
    dtype = torch.float16 if kept == torch.float16 else torch.bfloat16
    # Added up in 32 bits and rounded once: adding in 16 bits rounds twice.
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    try:
        model = PeftModel.from_pretrained(model, adapter)
    except (ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0]
        raise ModelFileError(f"{adapter} does not fit {base}: {line}", cure="train it on this base") from error
    model = model.merge_and_unload().to(dtype)
    draft = output.with_name(f".{output.name}")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(draft)
    flush_folder(draft)
    shutil.rmtree(output, ignore_errors=True)
    draft.replace(output)
    return output
