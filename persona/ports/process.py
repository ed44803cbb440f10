"""The process supervisor: whoever started the process and wants to know how it is doing."""

from typing import Protocol


class Notifier(Protocol):
    """Tells whoever started the process (systemd) how it is doing; every call returns at once and never raises.

    The calls answer whether the message was handed over: False when nobody listens or the receiver is busy.
    """

    def watchdog_interval(self) -> float | None:
        """Return after how many seconds without a `watchdog` call the process is killed; None when it is not."""
        ...

    def ready(self) -> bool:
        """Say that start-up is complete."""
        ...

    def status(self, text: str) -> bool:
        """Show one line on what is going on."""
        ...

    def watchdog(self) -> bool:
        """Say that all is well."""
        ...

    def stopping(self) -> bool:
        """Say that shutdown has begun."""
        ...

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for this much more time from now to start or stop."""
        ...
