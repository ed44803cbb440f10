import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


class Installed:
    """The program as a user runs it, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PERSONA_", "DISCORD_"))},
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
        }

    def config(self, text):
        (self.folder / "config.toml").write_text(text, encoding="utf-8")

    def start(self, *arguments, module="persona", **options):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments, typed="", module="persona"):
        process = self.start(*arguments, module=module)
        out, err = process.communicate(typed, timeout=50)
        return process.returncode, out, err

    def files(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)
