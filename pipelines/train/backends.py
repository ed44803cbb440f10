"""The three ways to hold a model for training, behind one interface; each loads its libraries only when asked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.train.plan import BackendName, Method, Plan

_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_EMBEDDINGS = ("embed_tokens", "lm_head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready for a trainer. `adapter` is the PEFT configuration still to be applied; None: it is on already."""

    model: Any
    tokenizer: Any
    adapter: Any | None


class Backend(Protocol):
    """What a training needs of a backend."""

    def load(self, folder: Path, plan: Plan) -> Loaded:
        """Load the base model and its tokenizer for a plan."""
        ...

    def arguments(self, plan: Plan) -> Mapping[str, Any]:
        """Return the trainer arguments that depend on the device."""
        ...


def prepare_environment(*, pull: bool) -> None:
    """Forbid the libraries to install, download or report anything; must run before they are imported."""
    os.environ.update(
        UNSLOTH_AUTO_INSTALL="0",
        UNSLOTH_DISABLE_STATISTICS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_DATASETS_OFFLINE="1",
        DO_NOT_TRACK="1",
        WANDB_MODE="disabled",
        TOKENIZERS_PARALLELISM="false",
        TRL_EXPERIMENTAL_SILENCE="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_PROGRESS_BARS="0" if pull else "1",
        TRANSFORMERS_VERBOSITY=os.environ.get("TRANSFORMERS_VERBOSITY", "error"),
    )
    if not pull:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def open_backend(name: BackendName) -> Backend:
    """Return the backend of a name."""
    match name:
        case BackendName.UNSLOTH:
            return UnslothBackend()
        case BackendName.HF_QLORA:
            return QloraBackend()
        case BackendName.HF_CPU:
            return CpuBackend()


class CpuBackend:
    """LoRA in full precision on the CPU: for small models and for tests."""

    def load(self, folder: Path, plan: Plan) -> Loaded:
        """Load in 32-bit: 16-bit arithmetic is several times slower on a CPU."""
        import torch  # noqa: PLC0415 - seconds to load, and an extra
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        return Loaded(model=model, tokenizer=_tokenizer(folder), adapter=_adapter(plan, model.config))

    def arguments(self, plan: Plan) -> Mapping[str, Any]:
        """No mixed precision, and nothing recomputed unless the plan asks for it."""
        return {"use_cpu": True, "bf16": False, "fp16": False, "gradient_checkpointing": plan.checkpointing}


class QloraBackend:
    """Plain TRL and PEFT on a base in 4 bits (QLoRA, Dettmers et al. 2023)."""

    def load(self, folder: Path, plan: Plan) -> Loaded:
        """Load in NF4 with double quantisation, on this process's own card."""
        import torch  # noqa: PLC0415 - seconds to load, and an extra
        from peft import prepare_model_for_kbit_training  # noqa: PLC0415 - as above
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig  # noqa: PLC0415 - as above

        wide = _half_type()
        bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, wide),
        )
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, wide),
            quantization_config=bits,
            device_map={"": local_rank()},
            local_files_only=True,
        )
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=plan.checkpointing)
        return Loaded(model=model, tokenizer=_tokenizer(folder), adapter=_adapter(plan, model.config))

    def arguments(self, plan: Plan) -> Mapping[str, Any]:
        """Mixed precision as the card can do it."""
        return _card_arguments(plan)


class UnslothBackend:
    """Unsloth's kernels: the same QLoRA in less memory and time."""

    def load(self, folder: Path, plan: Plan) -> Loaded:
        """Load in 4 bits and put the adapter on; for DPO and KTO the model without its adapter is the reference."""
        from unsloth import FastLanguageModel  # noqa: PLC0415 - patches the other libraries when imported

        model, tokenizer = FastLanguageModel.from_pretrained(
            model_name=str(folder), max_seq_length=plan.tokens, load_in_4bit=True, local_files_only=True
        )
        model = FastLanguageModel.get_peft_model(
            model,
            r=plan.rank,
            lora_alpha=plan.alpha,
            lora_dropout=plan.dropout,
            target_modules=[*_LAYERS, *(_EMBEDDINGS if plan.train_embeddings else ())],
            use_gradient_checkpointing="unsloth" if plan.checkpointing else False,
            random_state=plan.seed,
            max_seq_length=plan.tokens,
        )
        return Loaded(model=model, tokenizer=_with_padding(tokenizer), adapter=None)

    def arguments(self, plan: Plan) -> Mapping[str, Any]:
        """Unsloth recomputes activations by itself."""
        return {**_card_arguments(plan), "gradient_checkpointing": False}


def before_trainers(name: BackendName, method: Method) -> None:
    """Import what has to come before TRL: Unsloth patches the trainers."""
    if name is not BackendName.UNSLOTH:
        return
    import unsloth  # noqa: PLC0415 - only for this backend

    if method is Method.DPO:
        unsloth.PatchDPOTrainer()


def local_rank() -> int:
    """Return which card of this machine this process trains on."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _half_type() -> str:
    import torch  # noqa: PLC0415 - seconds to load, and an extra

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _card_arguments(plan: Plan) -> Mapping[str, Any]:
    bf16 = _half_type() == "bfloat16"
    return {
        "bf16": bf16,
        "fp16": not bf16,
        "gradient_checkpointing": plan.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if plan.checkpointing else None,
    }


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to load, and an extra

    return _with_padding(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def _with_padding(tokenizer: Any) -> Any:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _adapter(plan: Plan, config: Any) -> Any:
    from peft import LoraConfig  # noqa: PLC0415 - seconds to load, and an extra

    tied = bool(config.tie_word_embeddings)  # then the head is the embeddings, and must stay so
    whole = list(_EMBEDDINGS[:1] if tied else _EMBEDDINGS)
    return LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=list(_LAYERS),
        modules_to_save=whole if plan.train_embeddings else None,
        ensure_weight_tying=tied and plan.train_embeddings,
        task_type="CAUSAL_LM",
    )
