"""Speaks systemd's notification protocol, sd_notify(3): short datagrams to the socket named in NOTIFY_SOCKET."""

import os
import socket
from collections.abc import Mapping

_MAX_STATUS = 500
_MICROSECONDS = 1_000_000


class SdNotify:
    """A `Notifier` that does nothing where nobody listens: without NOTIFY_SOCKET, or on a system without such sockets.

    Path sockets and abstract ones (written with a leading @) are served. Datagrams are sent without waiting: when
    systemd does not keep up, the call answers False and the next one tries again.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog_interval = _watchdog_interval(environment)

    def watchdog_interval(self) -> float | None:
        """Return the seconds after which systemd kills a silent process (WATCHDOG_USEC); None when it does not."""
        return self._watchdog_interval

    def ready(self) -> bool:
        """Say that start-up is complete."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """Show one line in `systemctl status`."""
        # Every line of a datagram is an assignment of its own: a line break in the text could say anything.
        return self._send(f"STATUS={' '.join(text.split())[:_MAX_STATUS]}")

    def watchdog(self) -> bool:
        """Put off the watchdog by another interval."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Say that shutdown has begun."""
        return self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for `seconds` more from now to start or stop; to be repeated before they are over."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}")

    def _send(self, state: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.sendto(state.encode("utf-8", "replace"), self._address)
        except OSError:
            # A receiver that is busy or gone: this process must live on as if nobody listened.
            return False
        return True


def _address(name: str) -> str | None:
    """Return a socket address for NOTIFY_SOCKET; None for none and for kinds other than unix sockets."""
    if not hasattr(socket, "AF_UNIX") or name[:1] not in {"/", "@"}:
        return None
    return f"\0{name[1:]}" if name.startswith("@") else name


def _watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Read sd_watchdog_enabled(3): WATCHDOG_PID, where given, must be this process and no child of it."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    owner = environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or not int(microseconds) or (owner and owner != str(os.getpid())):
        return None
    return int(microseconds) / _MICROSECONDS
