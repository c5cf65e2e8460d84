import math
from pathlib import Path

import pytest

from edgechat import settings
from edgechat.errors import ConfigError, UnknownName


def load(tmp_path: Path, file: str = "", environ: dict[str, str] | None = None, **flags: object) -> settings.Settings:
    path = tmp_path / "config.toml"
    path.write_text(file)
    return settings.load(flags, path, environ or {})


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = "port = 1\ncontext = 100\nthreads = 3"
    found = load(tmp_path, file, {"EDGECHAT_PORT": "2", "EDGECHAT_CONTEXT": "200"}, port=9)
    assert (found.port, found.context, found.threads) == (9, 200, 3)


def test_a_flag_that_was_not_given_does_not_count(tmp_path: Path) -> None:
    assert load(tmp_path, "port = 1", port=None).port == 1


def test_the_file_in_the_home_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 7")
    assert settings.load({}, None, {"EDGECHAT_HOME": str(tmp_path)}).port == 7


@pytest.mark.parametrize(
    ("file", "environ"), [("prot = 1", {}), ("", {"EDGECHAT_PROT": "1"})], ids=["file", "environment"]
)
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path, file: str, environ: dict[str, str]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'port'"):
        load(tmp_path, file, environ)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("port = 70000", "setting port = 70000 .from the file.: input should be less than or equal to 65535"),
        ('port = "many"', "setting port = 'many'"),
        ("port = ", "not valid TOML"),
        ('modelscope_endpoint = "modelscope.cn"', "begins with https://"),
    ],
)
def test_a_bad_value_is_one_line_with_its_place(tmp_path: Path, file: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"(?i){says}") as caught:
        load(tmp_path, file)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read"):
        settings.load({}, tmp_path / "gone.toml", {})


def test_modelscopes_own_variable_is_read_and_ours_wins(tmp_path: Path) -> None:
    environ = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:1/"}
    assert load(tmp_path, "", environ).modelscope_endpoint == "http://127.0.0.1:1"
    environ["EDGECHAT_MODELSCOPE_ENDPOINT"] = "https://mirror.example"
    assert load(tmp_path, "", environ).modelscope_endpoint == "https://mirror.example"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("90s", 90), ("10m", 600), ("1.5h", 5400), (5, 5), ("0", 0), (-1, math.inf), ("never", math.inf)],
        *[("5m0s", 300), ("1h30m0s", 5400), ("24h0m0s", 86400), ("1m1.5s", 61.5), (".5m", 30), ("2.s", 2)],
        *[("1500ms", 1.5), ("2000us", 0.002), ("2000µs", 0.002), ("+3s", 3), ("-5m0s", math.inf), ("-0", 0)],
        *[(1e9, 1e9), (2.5, 2.5), ("0s", 0), ("-1", math.inf)],
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: object, value: float) -> None:
    assert settings.seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "soon", "10 parsecs", True, None, "-", "-soon", "5m0", "1h 30m", "5m5", ".s", "1e3s", math.nan]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        settings.seconds(text)


def test_aliases_come_from_a_table_or_from_text(tmp_path: Path) -> None:
    expected = {"fast": "qwen3-0.6b", "small": "smollm2-135m-instruct"}
    table = "[aliases]\n" + "\n".join(f'{alias} = "{name}"' for alias, name in expected.items())
    assert load(tmp_path, table).aliases == expected
    text = ", ".join(f"{alias}={name}" for alias, name in expected.items())
    assert load(tmp_path, "", {"EDGECHAT_ALIASES": text}).aliases == expected
    with pytest.raises(ConfigError, match="alias=name"):
        load(tmp_path, "", {"EDGECHAT_ALIASES": "fast"})
