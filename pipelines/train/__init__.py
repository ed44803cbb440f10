"""Fine-tuning on a run folder: SFT, then preferences, on one card, several, or none."""
