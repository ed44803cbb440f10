"""Offline work around the persona: making models and measuring them."""
