"""Loads a checked model file: the model, its vocabulary, its chat template and its attention cache."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from persona.adapters.llama.context import Context
from persona.adapters.llama.model_file import NAME_KEY, SERVER_KEY, ModelFile
from persona.adapters.llama.native import api, load_model, metadata_text, model_name
from persona.adapters.llama.settings import DEFAULT_CONTEXT_LIMIT, LlamaSettings, TemplateChoice
from persona.adapters.llama.template import ChatTemplate, TemplateContext, choose_template
from persona.adapters.llama.vocabulary import Vocabulary
from persona.domain.prompt import prompt_hash
from persona.errors import ModelFileError
from persona.ports import ModelInfo

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class LoadedModel:
    """Everything an engine needs of a model; `sequences` conversations fit into its cache at once."""

    settings: LlamaSettings
    info: ModelInfo
    vocabulary: Vocabulary
    template: ChatTemplate
    context: Context
    sequences: int
    can_reuse: bool
    _model: Any

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self.context.close()
        model, self._model = self._model, None
        if model is not None:
            api.llama_model_free(model)


def load(
    settings: LlamaSettings, file: ModelFile, *, outputs: int = 0, clock: Callable[[], float] = time.monotonic
) -> LoadedModel:
    """Load a model that `check_model_file` has found whole; `outputs` is how many scores one batch may be asked for.

    Raises:
        ModelFileError: llama.cpp cannot load it, it was trained with another prompt renderer, it has no usable chat
            template, or it does not fit into memory.
    """
    began = clock()
    model = load_model(settings)
    try:
        loaded = _assemble(settings, file, model, outputs)
    except BaseException:
        api.llama_model_free(model)
        raise
    info = loaded.info
    log.info(
        "model_loaded",
        model=info.name,
        parameters=info.parameters,
        context_tokens=info.context_tokens,
        slots=settings.slots,
        template=info.template,
        seconds=round(clock() - began, 2),
    )
    return loaded


def _assemble(settings: LlamaSettings, file: ModelFile, model: Any, outputs: int) -> LoadedModel:
    vocabulary = Vocabulary(model)
    _check_renderer(file.path, file.prompt_hash, vocabulary)
    template = choose_template(
        metadata_text(model, "tokenizer.chat_template"),
        commands=vocabulary.control_texts,
        ours=file.prompt_hash is not None,
        force_chatml=settings.template is TemplateChoice.CHATML,
        context=TemplateContext(beginning=vocabulary.beginning(), end=vocabulary.end()),
    )
    context_tokens = _context_tokens(settings, int(api.llama_model_n_ctx_train(model)))
    can_reuse = not (api.llama_model_is_recurrent(model) or api.llama_model_is_hybrid(model))
    wanted = settings.slots + (settings.resident if can_reuse else 0)
    sequences = min(wanted, int(api.llama_max_parallel_sequences()))
    info = ModelInfo(
        name=settings.name or model_name(model, file.path),
        path=str(file.path),
        sha256=file.sha256,
        context_tokens=context_tokens,
        parameters=int(api.llama_model_n_params(model)),
        template=template.name,
        prompt_hash=file.prompt_hash,
        persona_name=file.header.text(NAME_KEY),
        server_name=file.header.text(SERVER_KEY),
    )
    return LoadedModel(
        settings=settings,
        info=info,
        vocabulary=vocabulary,
        template=template,
        context=Context(model, settings, context_tokens=context_tokens, sequences=sequences, outputs=outputs),
        sequences=sequences,
        can_reuse=can_reuse,
        _model=model,
    )


def check_prompts(path: Path, trained_with: str) -> None:
    """Check that a whole model file was trained on prompts as this program writes them; its weights are not loaded.

    `trained_with` is the prompt hash that the file states.

    Raises:
        ModelFileError: it was trained with another prompt renderer, or its vocabulary cannot be loaded.
    """
    model = load_model(LlamaSettings(path=path), only_vocabulary=True)
    try:
        _check_renderer(path, trained_with, Vocabulary(model))
    finally:
        api.llama_model_free(model)


def _check_renderer(path: Path, trained_with: str | None, vocabulary: Vocabulary) -> None:
    """Refuse a model that was trained on prompts written in another way than ours: it would read gibberish."""
    if trained_with is not None and trained_with != prompt_hash(vocabulary.tokenize):
        raise ModelFileError(
            f"the model {path} was trained with another version of the prompt renderer",
            cure="train it again with this version (python -m pipelines all --fresh), or use the version it came from",
        )


def _context_tokens(settings: LlamaSettings, trained: int) -> int:
    """Return the context window of one reply: as asked for, but never more than the model has learned to read."""
    if not settings.context_tokens:
        return min(trained, DEFAULT_CONTEXT_LIMIT)
    if settings.context_tokens > trained:
        log.warning("context_tokens_lowered", asked=settings.context_tokens, model_has=trained)
    return min(settings.context_tokens, trained)
