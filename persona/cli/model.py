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
    from persona.adapters.llama.download import (  # noqa: PLC0415 - brings the network stack
        Download,
        download_model,
        progress_bar,
    )

    model = settings.model
    wanted = Download(
        folder=settings.storage.models,
        repo=arguments.repo or model.repo,
        file=arguments.file or model.file,
        sha256="" if arguments.repo or arguments.file else model.sha256,
    )
    with progress_bar(wanted.target.name) as on_progress:
        path = download_model(wanted, on_progress=on_progress)
    print(f'The model is there. To use it, put this into config.toml:\n\n[model]\npath = "{path}"')
    return EXIT_DONE
