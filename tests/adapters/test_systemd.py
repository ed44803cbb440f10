"""The notification protocol against real datagram sockets."""

import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from persona.adapters.systemd import SdNotify
from persona.ports import Notifier


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract sockets exist on Linux only")
    name = str(tmp_path / "notify") if request.param == "path" else f"@persona-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        server.settimeout(5)
        yield server, name


def test_every_message_arrives_as_systemd_reads_it(listener: tuple[socket.socket, str]) -> None:
    server, name = listener
    notify: Notifier = SdNotify({"NOTIFY_SOCKET": name})
    calls = [
        (notify.ready, (), b"READY=1"),
        (notify.status, ("answering; 3 replies in the last hour",), b"STATUS=answering; 3 replies in the last hour"),
        (notify.status, ("grüß 👋",), "STATUS=grüß 👋".encode()),
        (notify.watchdog, (), b"WATCHDOG=1"),
        (notify.extend_timeout, (2.5,), b"EXTEND_TIMEOUT_USEC=2500000"),
        (notify.stopping, (), b"STOPPING=1"),
    ]
    for call, arguments, expected in calls:
        assert call(*arguments)
        assert server.recv(4096) == expected


def test_a_status_cannot_smuggle_in_other_assignments(listener: tuple[socket.socket, str]) -> None:
    server, name = listener
    assert SdNotify({"NOTIFY_SOCKET": name}).status("ok\nREADY=1\r\nMAINPID=1\v\u2028" + "x" * 2000 + "\ud800")
    datagram = server.recv(8192)
    assert len(datagram.decode().splitlines()) == 1
    assert datagram.startswith(b"STATUS=ok READY=1 MAINPID=1 xxx")
    assert len(datagram) < 600


def test_a_busy_receiver_is_not_waited_for(listener: tuple[socket.socket, str]) -> None:
    server, name = listener
    notify = SdNotify({"NOTIFY_SOCKET": name})
    began = time.monotonic()
    results = [notify.watchdog() for _ in range(5000)]
    assert time.monotonic() - began < 5
    assert results[0]
    assert not results[-1], "its queue is full"
    server.recv(64)
    assert notify.watchdog(), "there is room again"


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative/path", "/nonexistent/socket", "@nobody-listens-here"])
def test_without_a_listener_nothing_happens(name: str) -> None:
    notify = SdNotify({"NOTIFY_SOCKET": name} if name else {})
    results = [notify.ready(), notify.status("x"), notify.watchdog(), notify.stopping(), notify.extend_timeout(1)]
    assert results == [False] * 5


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval_comes_from_the_environment(environment: dict[str, str], expected: float | None) -> None:
    assert SdNotify(environment).watchdog_interval() == expected
