"""Wrong settings and damaged models: one line with place and cure, exit code 78, nothing written."""

import hashlib
import shutil

import pytest

from persona.demo import demo_model_path


def fails(installed, *arguments):
    before = installed.files()
    code, out, err = installed.run(*arguments, "--json", typed="hi\n")
    assert code == 78, (out, err)
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert installed.files() == before
    return err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\npaht = 'x'", ("[model] paht", "did you mean path?")),
        ("[model]\nthreads = 'many'", ("[model] threads", "0 to 512")),
        ("[sampling]\ntemperature = nan", ("[sampling] temperature", "0 to 2")),
        ("[sampling]\ntop_p = 7", ("[sampling] top_p", "more than 0 to 1")),
        ("[sampling\n", ("not valid TOML", "line 1")),
    ],
)
def test_a_wrong_setting(installed, text, words):
    installed.config(text)
    err = fails(installed)
    assert all(word in err for word in ("config.toml", *words))


def test_a_config_that_is_not_there(installed):
    assert "nowhere.toml" in fails(installed, "--config", "nowhere.toml")


def damaged(kind, folder):
    model = folder / "model.gguf"
    whole = demo_model_path()
    match kind:
        case "missing":
            pass
        case "empty":
            model.write_bytes(b"")
        case "html":
            model.write_text("<!doctype html><title>Not found</title>" * 50)
        case "folder":
            model.mkdir()
        case "truncated":
            model.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        case "corrupt header":
            data = bytearray(whole.read_bytes())
            data[8:24] = b"\xff" * 16
            model.write_bytes(bytes(data))
    return model


@pytest.mark.parametrize("kind", ["missing", "empty", "html", "folder", "truncated", "corrupt header"])
def test_a_damaged_model(installed, kind):
    damaged(kind, installed.folder)
    installed.config("[model]\npath = 'model.gguf'\n")
    err = fails(installed)
    assert "model.gguf" in err


def test_silent_corruption_is_found_by_the_checksum(installed):
    whole = demo_model_path()
    model = installed.folder / "model.gguf"
    shutil.copy(whole, model)
    with model.open("r+b") as stream:
        stream.seek(whole.stat().st_size - 5000)
        stream.write(b"\0" * 4096)
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    installed.config(f"[model]\npath = 'model.gguf'\nsha256 = '{digest}'\n")
    assert "sha256" in fails(installed)


def test_a_wrong_command_line_is_2(installed):
    code, _, err = installed.run("--no-such-option")
    assert code == 2
    assert "--no-such-option" in err


def test_a_database_of_somebody_else_is_refused(installed):
    (installed.folder / "data").mkdir()
    (installed.folder / "data/persona.db").write_bytes(b"SQLite format 3\0" + b"\0" * 84)
    code, _, err = installed.run("--json", typed="hi\n")
    assert code in {1, 78}
    assert "persona.db" in err
    assert "Traceback" not in err
