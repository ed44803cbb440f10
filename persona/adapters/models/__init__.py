"""The models folder: which models there are, which one is in use, and how a new one gets in."""

from persona.adapters.models.publishing import Origin, publish
from persona.adapters.models.registry import REGISTRY_FILE, Mended, ModelRegistry

__all__ = ["REGISTRY_FILE", "Mended", "ModelRegistry", "Origin", "publish"]
