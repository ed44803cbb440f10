"""`persona model`: show, choose, download or check language models."""

import argparse

from persona.config import load_settings
from persona.errors import EXIT_DONE, UsageError

_NAMED = ("use", "remove")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit code.

    Raises:
        UsageError: a name is missing or too much, or there is no model of that name.
        DownloadError: the model could not be fetched.
        ModelFileError: a model is missing, damaged, or does not fit this program.
        RegistryError: the list of models cannot be read or written.
    """
    if (arguments.name is not None) is not (arguments.action in _NAMED):
        problem = "needs a name" if arguments.action in _NAMED else "takes no name"
        raise UsageError(f"persona model {arguments.action} {problem}", cure="persona model list shows the names")
    settings = load_settings(arguments.config)
    if arguments.action == "pull":
        from persona.cli.pull import pull_embedding, pull_model  # noqa: PLC0415 - brings the network stack

        if arguments.embedding is None:
            pull_model(settings, repo=arguments.repo, file=arguments.file)
        else:
            pull_embedding(settings, name=arguments.embedding)
        return EXIT_DONE
    from persona.cli.model_choosing import ModelDesk  # noqa: PLC0415 - not needed for a download

    desk = ModelDesk(settings, as_json=arguments.json)
    match arguments.action:
        case "list":
            desk.show()
        case "use":
            desk.use(arguments.name)
        case "rollback":
            desk.roll_back()
        case "remove":
            desk.remove(arguments.name)
        case _:
            desk.check()
    return EXIT_DONE
