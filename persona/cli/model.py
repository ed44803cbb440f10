"""`persona model`: download a real language model, or check the configured one."""

import argparse

from persona.app import checked_engine
from persona.config import load_settings
from persona.errors import EXIT_DONE


def run(arguments: argparse.Namespace) -> int:
    """Pull or check; return the exit code.

    Raises:
        DownloadError: the model could not be fetched.
        ModelFileError: the configured model is missing or damaged.
    """
    settings = load_settings(arguments.config)
    if arguments.action == "check":
        from persona.app import llama_settings  # noqa: PLC0415

        checked_engine(settings)
        print(f"{llama_settings(settings).path} is a whole model file")
        return EXIT_DONE
    from persona.cli.pull import pull_embedding, pull_model  # noqa: PLC0415 - brings the network stack

    if arguments.embedding is None:
        pull_model(settings, repo=arguments.repo, file=arguments.file)
    else:
        pull_embedding(settings, name=arguments.embedding)
    return EXIT_DONE
