"""Builds TRL's trainer for a plan: data set, arguments, the class for each method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from persona.errors import PersonaError
from pipelines.train.backends import Backend, Loaded
from pipelines.train.plan import Method, Plan
from pipelines.train.rows import Rows, class_weights


def load_split(rows: Rows, loaded: Loaded, plan: Plan, *, limit: int, cache: Path) -> tuple[Dataset, int]:
    """Return the usable rows of a split, at most `limit` of them drawn by the seed, and how many were too long.

    Too long ones are left out here and counted: the trainer would cut them at the end of the reply without a word.
    """
    files = [str(file) for file in rows.files]
    data = load_dataset("json", data_files=files, split="train", cache_dir=str(cache))
    data = data.select_columns(list(rows.columns))
    tokenizer, texts = loaded.tokenizer, [column for column in rows.columns[1:] if column != "label"]

    def fits(row: Mapping[str, Any]) -> bool:
        return all(_length(tokenizer, row["prompt"] + row[column]) <= plan.tokens for column in texts)

    kept = data.filter(fits, load_from_cache_file=False)
    dropped = len(data) - len(kept)
    if limit and len(kept) > limit:
        kept = kept.shuffle(seed=plan.seed).select(range(limit))
    return kept, dropped


def build_trainer(
    plan: Plan, backend: Backend, loaded: Loaded, *, train: Dataset, validation: Dataset | None, output: Path
) -> Any:
    """Return the trainer of a plan; nothing is trained yet.

    Raises:
        PersonaError: KTO has only one kind of label.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback  # noqa: PLC0415 - only now surely needed

    shared = {**_shared(plan, output, watched=validation is not None), **backend.arguments(plan)}
    trainer_class, arguments = _method(plan, shared, train)
    trainer = trainer_class(
        model=loaded.model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=loaded.tokenizer,
        **({"peft_config": loaded.adapter} if loaded.adapter is not None else {}),
    )
    trainer.remove_callback(PrinterCallback)
    if validation is not None and plan.patience:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=plan.patience))
    return trainer


def _shared(plan: Plan, output: Path, *, watched: bool) -> dict[str, Any]:
    """Return the arguments that all methods have in common."""
    best = watched and plan.patience > 0
    return {
        "output_dir": str(output),
        "num_train_epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": plan.warmup,  # below 1 it is a share of all steps
        "per_device_train_batch_size": plan.micro_batch,
        "per_device_eval_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "optim": plan.optimizer,
        "max_length": plan.tokens,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # hides a loss that is no number
        "save_strategy": "steps",
        "save_steps": plan.save_steps,
        "save_total_limit": 2,
        "eval_strategy": "steps" if watched else "no",
        "eval_steps": plan.save_steps,
        "load_best_model_at_end": best,
        "metric_for_best_model": "eval_loss" if best else None,
        "greater_is_better": False if best else None,
        "restore_callback_states_from_checkpoint": True,  # else early stopping forgets how patient it was
        "ddp_find_unused_parameters": False if plan.devices > 1 else None,  # every adapter weight gets a gradient
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def _method(plan: Plan, shared: dict[str, Any], train: Dataset) -> tuple[Any, Any]:
    match plan.method:
        case Method.SFT:
            from trl import SFTConfig, SFTTrainer  # noqa: PLC0415 - each method loads its own

            return SFTTrainer, SFTConfig(**shared, completion_only_loss=True, packing=False)
        case Method.DPO:
            from trl import DPOConfig, DPOTrainer  # noqa: PLC0415 - as above

            return DPOTrainer, DPOConfig(**shared, beta=plan.beta)
        case Method.KTO:
            from trl import KTOConfig, KTOTrainer  # noqa: PLC0415 - as above

            liked = sum(train["label"])
            wanted, unwanted = class_weights(liked, len(train) - liked)
            weights = {"desirable_weight": wanted, "undesirable_weight": unwanted}
            return KTOTrainer, KTOConfig(**shared, beta=plan.beta, **weights)
        case Method.ORPO:
            from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # noqa: PLC0415 - as above

            return ORPOTrainer, ORPOConfig(**shared, beta=plan.beta)


def require_rows(data: Dataset, dropped: int, plan: Plan) -> None:
    """Refuse a training without data.

    Raises:
        PersonaError: no row is short enough.
    """
    if len(data) == 0:
        raise PersonaError(
            f"all {dropped} examples are longer than {plan.tokens} tokens",
            cure="make shorter ones with prepare, or raise the limit in [training]",
        )


def _length(tokenizer: Any, messages: Any) -> int:
    return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
