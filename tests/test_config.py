import json
import math
from pathlib import Path

import pytest

from persona.config import Settings, load_settings, secret
from persona.config_file import documented_config
from persona.config_tables import sections
from persona.errors import ConfigError

ROOT = Path(__file__).parent.parent


def settings_from(tmp_path, text, environment=None):
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environment or {})


@pytest.mark.parametrize(
    ("text", "place", "cure"),
    [
        ("[modle]\n", "[modle]", "did you mean model?"),
        ("[model]\ntreads = 1", "[model] treads", "did you mean threads?"),
        ("[model]\nqqq = 1", "[model] qqq", "in [model] there are: path"),
        ('[model]\nthreads = "x"', "[model] threads", "allowed: 0 to 512"),
        ("[model]\nthreads = 1.5", "[model] threads", "allowed: 0 to 512"),
        ("[sampling]\ntemperature = nan", "[sampling] temperature", "allowed: 0 to 2"),
        ("[sampling]\ntemperature = inf", "[sampling] temperature", "allowed: 0 to 2"),
        ("[sampling]\ntemperature = 3", "[sampling] temperature", "allowed: 0 to 2"),
        ("[sampling]\ntop_p = 0", "[sampling] top_p", "allowed: more than 0 to 1"),
        ('[model]\ntemplate = "foo"', "[model] template", "one of auto, chatml"),
        ("[speaking]\nenabled = 1", "[speaking] enabled", "enabled = true"),
        ("model = 3", "[model]", "write it as a table"),
        ("[model\n", "line 1", "mend that line"),
        ('[persona]\nname = "' + "x" * 33 + '"', "[persona] name", ""),
    ],
)
def test_a_wrong_setting_is_one_line_with_place_and_cure(tmp_path, text, place, cure):
    with pytest.raises(ConfigError) as caught:
        settings_from(tmp_path, text)
    line = str(caught.value)
    assert place in line
    assert cure in line
    assert "\n" not in line
    assert caught.value.exit_code == 78


def test_every_numeric_setting_refuses_nan_and_both_sides_of_its_range(tmp_path):
    tried = 0
    for table, section in sections().items():
        for key, info in section.model_fields.items():
            if info.annotation not in (int, float):
                continue
            for value in ("nan", "-1e9", "1e99"):
                with pytest.raises(ConfigError, match=key):
                    settings_from(tmp_path, f"[{table}]\n{key} = {value}")
            tried += 1
    assert tried > 25


def test_the_shipped_file_documents_every_setting_and_holds_the_defaults():
    shipped = ROOT / "config.toml"
    assert shipped.read_text(encoding="utf-8") == documented_config()
    assert load_settings(shipped, {}).model_dump(exclude={"storage", "log"}) == Settings().model_dump(
        exclude={"storage", "log"}
    )
    assert load_settings(shipped, {}).storage.database == ROOT / Settings().storage.database


def test_every_setting_has_a_description():
    for section in sections().values():
        assert section.__doc__
        for key, info in section.model_fields.items():
            assert info.description, key


def test_the_environment_wins_and_is_named_when_wrong(tmp_path):
    text = "[sampling]\ntemperature = 0.5"
    assert settings_from(tmp_path, text, {"PERSONA_SAMPLING_TEMPERATURE": "1.5"}).sampling.temperature == 1.5
    nick = settings_from(tmp_path, text, {"PERSONA_PERSONA_NICKNAMES": '["pip", "pipster"]'})
    assert nick.persona.nicknames == ("pip", "pipster")
    with pytest.raises(ConfigError, match="PERSONA_SAMPLING_TEMPERATURE"):
        settings_from(tmp_path, text, {"PERSONA_SAMPLING_TEMPERATURE": "nan"})


def test_relative_paths_start_at_the_file(tmp_path):
    settings = settings_from(tmp_path, '[model]\npath = "m/x.gguf"\n[storage]\ndatabase = "d/p.db"')
    assert settings.storage.database == tmp_path / "d/p.db"
    assert settings.model.path == str(tmp_path / "m/x.gguf")


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="nope"):
        load_settings(tmp_path / "nope.toml", {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_settings(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'[persona]\nname = "\xe9"')
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(tmp_path / "latin.toml", {})


def test_settings_are_frozen(tmp_path):
    settings = settings_from(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        settings.model.threads = 3
    assert math.isfinite(settings.sampling.temperature)
    assert json.dumps(settings.model_dump(mode="json"))


def test_a_credential_wins_over_the_environment(tmp_path):
    (tmp_path / "DISCORD_TOKEN").write_text("from-file\n")
    environment = {"DISCORD_TOKEN": "from-env", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secret("DISCORD_TOKEN", environment) == "from-file"
    assert secret("DISCORD_TOKEN", {"DISCORD_TOKEN": "from-env"}) == "from-env"
    assert secret("DISCORD_TOKEN", {}) is None
