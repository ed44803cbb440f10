"""Embeddings on this machine, through fastembed."""

from persona.adapters.embedding.embedder import FastEmbedder
from persona.adapters.embedding.files import ModelFolder, model_folder, wanted_files
from persona.adapters.embedding.model import try_model

__all__ = ["FastEmbedder", "ModelFolder", "model_folder", "try_model", "wanted_files"]
