import subprocess
import sys

import pytest

from persona.cli.commands import COMMANDS
from persona.cli.parser import build_parser
from pipelines.__main__ import build_parser as build_pipelines_parser


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example:" in text
    assert "--config" in text


@pytest.mark.parametrize("name", ["demo", "demo-score"])
def test_every_pipeline_explains_itself_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        build_pipelines_parser().parse_args([name, "--help"])
    assert ended.value.code == 0
    assert "example:" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    heavy = ("lancedb", "llama_cpp", "pyarrow", "numpy", "pydantic", "structlog", "discord", "asyncio", "rich")
    program = (
        "import sys; from persona.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_options_may_stand_before_and_after_the_command():
    before = build_parser().parse_args(["--config", "a.toml", "--debug", "import", "x"])
    after = build_parser().parse_args(["import", "--config", "a.toml", "--debug", "x"])
    assert (before.config, before.debug) == (after.config, after.debug)
    assert build_parser().parse_args(["--json", "chat"]).json is True
    assert build_parser().parse_args(["chat"]).json is False
