"""From a model folder in Hugging Face's layout to one GGUF file that the bot loads."""
