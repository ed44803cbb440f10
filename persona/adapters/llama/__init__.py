"""llama.cpp on this machine: a batching engine behind the `ChatEngine` port."""

from persona.adapters.llama.factory import LlamaEngineFactory, check_model, llama_engine_factory
from persona.adapters.llama.model_file import ModelFile
from persona.adapters.llama.settings import LlamaSettings, TemplateChoice, default_threads

__all__ = [
    "LlamaEngineFactory",
    "LlamaSettings",
    "ModelFile",
    "TemplateChoice",
    "check_model",
    "default_threads",
    "llama_engine_factory",
]
