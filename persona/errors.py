"""Every error an owner can meet, and the exit code each one ends the process with.

PersonaError                 1  something failed; the line says what and what to do
├── UsageError               2  the command line asks for something that does not go together
├── ConfigError             78  a setting is wrong: names the key and the cure
│   ├── ModelFileError      78  the model file is missing, damaged or not ours
│   └── RegistryError       78  the list of models is damaged
├── StoreError               1  the database cannot be used
│   └── StoreMismatchError  78  the file is not a Persona database, or is from a newer version
├── MemoryIndexError         1  the search index failed; it can be rebuilt from the database
├── EmbedderError            1  the embedding model is not there or failed; words alone count then
│   └── EmbedderMissingError 1  it was never fetched
├── ImportFailedError        1  nothing could be read from what was given
├── InferenceError           1  the language model failed
│   └── PromptTooLongError   1  not even the newest turn fits the context window
├── HungError                1  something in the process cannot be stopped any more: leave without waiting for it
├── DownloadError            1  a model could not be fetched
├── TransportError           1  the other side (Discord) cannot be reached or failed; trying again may help
│   └── AccessError          1  a channel is gone, or the right to read it is missing
├── DeliveryError            1  an answer cannot be delivered
└── AlreadyRunningError     75  another process holds the data folder
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TEMPORARY = 75
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130


class PersonaError(Exception):
    """A failure with one clear line; `cure` says what the owner can do about it."""

    exit_code = EXIT_FAILED

    def __init__(self, problem: str, *, cure: str = "") -> None:
        """Keep the problem and its cure; `str()` joins them to one line."""
        self.problem = problem
        self.cure = cure
        super().__init__(f"{problem} ({cure})" if cure else problem)


class UsageError(PersonaError):
    """The command line asks for something that does not go together."""

    exit_code = EXIT_USAGE


class ConfigError(PersonaError):
    """A setting is wrong; restarting cannot help."""

    exit_code = EXIT_CONFIG


class ModelFileError(ConfigError):
    """The model file is missing, damaged, or does not fit this program."""


class RegistryError(ConfigError):
    """The list of models is damaged, or cannot be read or written."""


class StoreError(PersonaError):
    """The database cannot be used."""


class StoreMismatchError(StoreError):
    """The file is not a Persona database, or a newer program wrote it."""

    exit_code = EXIT_CONFIG


class MemoryIndexError(PersonaError):
    """The search index failed; nothing is lost, it can be rebuilt from the database."""


class EmbedderError(PersonaError):
    """The embedding model is not there or failed; what it would have found by meaning is found by words alone."""


class EmbedderMissingError(EmbedderError):
    """The embedding model was never fetched: nothing is broken."""


class ImportFailedError(PersonaError):
    """Nothing could be read from what was given to import."""


class InferenceError(PersonaError):
    """The language model failed; the request is lost, the model may live on."""


class PromptTooLongError(InferenceError):
    """Not even the system prompt and the newest turn fit the context window."""


class HungError(PersonaError):
    """Something in the process cannot be stopped any more; only the end of the process helps."""


class DownloadError(PersonaError):
    """A model could not be fetched."""


class TransportError(PersonaError):
    """The other side cannot be reached or failed; trying again later may help."""


class AccessError(TransportError):
    """A channel is gone, or the right to read it is missing; trying again does not help."""


class DeliveryError(PersonaError):
    """An answer cannot be delivered: what it answers is gone, or the right to write is missing."""


class AlreadyRunningError(PersonaError):
    """Another process holds the data folder."""

    exit_code = EXIT_TEMPORARY
