"""The text of a systemd unit: what runs, how it is watched, and a sandbox as tight as the installation allows."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_HIDDEN_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides."""

_TOKEN = "DISCORD_TOKEN"  # noqa: S105 - the name of the secret
_WATCHDOG_SECONDS = 60
_START_SECONDS = 90
_STOP_MARGIN_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a unit is written for; every path is absolute, `config` is None when the defaults are used.

    `reads` are folders and files the service needs to see, `writes` are folders it may change.
    """

    python: Path
    folder: Path
    config: Path | None
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    owner: str
    group: str
    gpu: bool = False
    drain_seconds: float = 20.0
    state: Mapping[str, str] = field(default_factory=dict)
    """Settings that move the data into the service's own state folder, by environment variable, %S for its place."""

    @property
    def hidden(self) -> tuple[Path, ...]:
        """Paths that lie where ProtectHome= would hide them."""
        paths = (self.python, *self.reads, *self.writes)
        return tuple(path for path in paths if _under(path, _HIDDEN_HOMES))

    @property
    def unreadable(self) -> tuple[Path, ...]:
        """Paths that a user other than the owner cannot read."""
        return tuple(path for path in (self.python, *self.reads) if path.exists() and not readable_by_all(path))


def render(installation: Installation, *, user: bool) -> str:
    """Return the text of a unit for the system manager, or with `user` for a user's own."""
    parts = [_head(installation, user=user), _unit(user=user), "[Service]", *_service(installation, user=user)]
    if user:
        parts += _user_sandbox(installation)
    elif installation.hidden or installation.unreadable:
        parts += [*_owner_sandbox(installation), *_system_sandbox(installation)]
    else:
        parts += [*_dynamic_sandbox(installation), *_system_sandbox(installation)]
    parts += [
        *_common_sandbox(gpu=installation.gpu),
        "",
        "[Install]",
        f"WantedBy={'default' if user else 'multi-user'}.target",
        "",
    ]
    return "\n".join(parts)


def quoted(text: str | Path) -> str:
    """Return a word for a unit file: percent signs doubled, quotes and backslashes escaped, in quotes where needed."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = escaped == str(text) and not any(character.isspace() or character in "';" for character in escaped)
    return escaped if plain else f'"{escaped}"'


# --- the parts of a unit --------------------------------------------------------------------------------------------


def _head(installation: Installation, *, user: bool) -> str:
    token = _token_file(user=user).replace("%h", "~")
    if user:
        where, control = "~/.config/systemd/user/persona.service", "systemctl --user"
        folders = " ".join(shlex.quote(_comment(path)) for path in installation.writes)
        first = [
            f"#   mkdir -p {Path(token).parent} {folders}",
            f"#   (umask 077; cat > {token})    (then paste the Discord token; Ctrl-D ends)",
            "#   loginctl enable-linger           (it runs while you are logged out, too)",
        ]
    else:
        where, control = "/etc/systemd/system/persona.service", "sudo systemctl"
        first = [
            f"#   sudo install -d -m 700 {Path(token).parent}",
            f"#   sudo install -m 600 /dev/stdin {token}    (then paste the Discord token; Ctrl-D ends)",
        ]
    lines = [
        f"# Persona, as installed in {_comment(installation.folder)}; made by `persona unit`.",
        f"# Save as {where}, then once:",
        *first,
        f"#   {control} daemon-reload && {control} enable --now persona",
    ]
    return "\n".join(lines)


def _unit(*, user: bool) -> str:
    lines = ["", "[Unit]", "Description=Persona, a regular of a Discord server"]
    if not user:
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += [
        "# Never give up for good: the waits between restarts are RestartSec= and the bot's own.",
        "StartLimitIntervalSec=0",
        "",
    ]
    return "\n".join(lines)


def _service(installation: Installation, *, user: bool) -> list[str]:
    words: list[str | Path] = ["-m", "persona"]
    if installation.config:
        words += ["--config", installation.config]
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={_executable(installation.python)} {' '.join(_command_word(word) for word in words)}",
        f"WorkingDirectory={str(installation.folder).replace('%', '%%')}",
        f"LoadCredential={_TOKEN}:{_token_file(user=user)}",
        "# A crash prints the stack of every thread; llama.cpp's own backtrace would start a debugger.",
        "Environment=PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 GGML_NO_BACKTRACE=1",
        "# Two heaps instead of one for each thread: the search index leaves less memory lying about.",
        "Environment=MALLOC_ARENA_MAX=2",
        "Restart=always",
        "RestartSec=5",
        "# 2: wrong usage, 78: wrong configuration. A restart cures neither.",
        "RestartPreventExitStatus=2 78",
        "# While the model loads the bot asks for more time itself.",
        f"TimeoutStartSec={_START_SECONDS}",
        f"TimeoutStopSec={round(installation.drain_seconds) + _STOP_MARGIN_SECONDS}",
        "# The bot reports in only while its loop turns and the model is idle or progressing.",
        f"WatchdogSec={_WATCHDOG_SECONDS}",
        "KillMode=mixed",
        "MemoryMax=80%",
        "TasksMax=512",
        "# A core dump would hold the token and what people said.",
        "LimitCORE=0",
        "UMask=0077",
        "",
    ]


def _dynamic_sandbox(installation: Installation) -> list[str]:
    moved = [f"Environment={_environment(name, value)}" for name, value in installation.state.items()]
    olds = " ".join(_comment(quoted(path)) for path in installation.writes)
    return [
        "# A user that exists only while the service runs, and a folder for its data: /var/lib/persona.",
        f"# To go on with data from {olds}, copy it there before the first start.",
        "DynamicUser=yes",
        "StateDirectory=persona",
        "StateDirectoryMode=0700",
        *moved,
        "ProtectHome=yes",
    ]


def _owner_sandbox(installation: Installation) -> list[str]:
    """Run as the owner of the files, who then sees nothing of the home folders but this installation."""
    reasons = [*(f"{path} lies in a home folder" for path in installation.hidden[:1])]
    reasons += [f"{path} is readable for its owner only" for path in installation.unreadable[:1]]
    lines = [
        f"# DynamicUser= is left out: {_comment('; '.join(reasons))}.",
        "# For a user of its own, install it where everybody may read, such as /opt/persona.",
    ]
    if installation.owner == "root":
        lines.append(
            "# The files belong to root. Without capabilities that is less than it sounds, but /opt is better."
        )
    lines += [f"User={installation.owner}", f"Group={installation.group}"]
    shown = [path for path in outermost(installation.hidden) if path not in installation.writes]
    changed = [path for path in installation.writes if path in installation.hidden]
    if shown or changed:
        lines += ["# Home folders are empty but for what the bot needs.", "ProtectHome=tmpfs"]
        lines += [f"BindReadOnlyPaths={_bind(path)}" for path in shown]
        lines += [f"BindPaths={_bind(path)}" for path in changed]
    else:
        lines.append("ProtectHome=yes")
    folders = " ".join(_command_word(path) for path in installation.writes)
    make = f"/usr/bin/install -d -m 0700 -o {installation.owner} -g {installation.group} {folders}"
    return [*lines, f"ExecStartPre=+{make}", _writable(installation)]


def _system_sandbox(installation: Installation) -> list[str]:
    lines = [
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "PrivateUsers=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "PrivateMounts=yes",
        "KeyringMode=private",
        "RemoveIPC=yes",
    ]
    if installation.gpu:
        return [*lines, "# PrivateDevices= and MemoryDenyWriteExecute= are left out: the model runs on a GPU."]
    return [*lines, "PrivateDevices=yes", "DevicePolicy=closed"]


def _user_sandbox(installation: Installation) -> list[str]:
    return [
        "# A user's manager may not use DynamicUser=, PrivateDevices= or CapabilityBoundingSet=, and without",
        "# PrivateUsers= it would silently ignore ProtectSystem= and the like.",
        "PrivateUsers=yes",
        "ProtectHome=read-only",
        _writable(installation),
    ]


def _common_sandbox(*, gpu: bool) -> list[str]:
    # A GPU's driver may compile code while it runs.
    memory = [] if gpu else ["MemoryDenyWriteExecute=yes"]
    return [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "ProtectControlGroups=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "# ProcSubset=pid is left out: onnxruntime reads /proc/cpuinfo.",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        *memory,
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "SystemCallErrorNumber=EPERM",
    ]


def _writable(installation: Installation) -> str:
    return f"ReadWritePaths={' '.join(quoted(path) for path in installation.writes)}"


# --- words and paths ------------------------------------------------------------------------------------------------


def _token_file(*, user: bool) -> str:
    return "%h/.config/persona/token" if user else "/etc/persona/token"


def _executable(path: Path) -> str:
    """Quote the program of ExecStart=: nothing is expanded in it, and quotes and backslashes cannot be written."""
    return f"/usr/bin/env {_command_word(path)}" if set(str(path)) & set("\"'\\") else quoted(path)


def _command_word(word: str | Path) -> str:
    """Quote a word of ExecStart=, where a dollar sign names a variable."""
    return quoted(str(word).replace("$", "$$"))


def _environment(name: str, value: str) -> str:
    """Quote an assignment whose value may hold %S."""
    return quoted(f"{name}={value}").replace("%%S/", "%S/")


def _bind(path: Path) -> str:
    return quoted(str(path).replace(":", "\\:")) if ":" in str(path) else quoted(path)


def _comment(text: str | Path) -> str:
    """Keep text on its comment line."""
    return " ".join(str(text).split())


def readable_by_all(path: Path) -> bool:
    """Return whether any user may read a file or folder: open itself, and every folder on the way."""
    real = path.resolve()
    mode = real.stat().st_mode
    own = 0o5 if real.is_dir() else 0o4
    return mode & own == own and all(parent.stat().st_mode & 0o1 for parent in real.parents)


def _under(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths without doubles and without those inside another one."""
    distinct = dict.fromkeys(Path(os.path.normpath(path.absolute())) for path in paths)
    return tuple(path for path in distinct if not any(other in path.parents for other in distinct))
