"""Every setting is a flag and an environment variable; what is wrong with one is said in one line that names it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import CliApp

from assayd.settings import Settings

OTHER = {
    "devices": "0,2",
    "listen": "127.0.0.1:1", "metrics": "127.0.0.1:2", "store": "elsewhere", "models": str(Path(__file__).parent),
    "provider": "cpu", "log_level": "debug", "max_message_bytes": "2048", "isolation": "none", "precision": "tf32",
    "worker_memory_bytes": "1000000000", "insecure": "True", "probes": "127.0.0.1:3", "jwt_issuer": "i",
    "jwt_audience": "a", "max_metadata_bytes": "4096", "max_bytes_in_flight": "1000000000", "tenant_share": "0.25",
    **dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca", "tokens", "jwks", "quotas"), __file__),
}  # fmt: skip
"""A value that isn't the default; 7 for the rest, which are numbers."""

NAMES = list(Settings.model_fields)


def flag(name):
    return "--" + name.replace("_", "-")


def parsed(*flags):
    return CliApp.run(Settings, cli_args=list(flags))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("ASSAYD_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_a_flag(name):
    value = OTHER.get(name, "7")
    is_switch = Settings.model_fields[name].annotation is bool
    settings = parsed("--store", "here", flag(name), *([] if is_switch else [value]))
    assert str(getattr(settings, name)) in (value, f"{value}.0")
    assert getattr(settings, name) != Settings.model_fields[name].default


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_an_environment_variable_and_a_flag_goes_before_it(name, monkeypatch):
    value = OTHER.get(name, "7")
    monkeypatch.setenv("ASSAYD_STORE", "here")
    monkeypatch.setenv(f"ASSAYD_{name.upper()}", value)
    assert str(getattr(parsed(), name)) in (value, f"{value}.0")
    if name not in OTHER:
        assert getattr(parsed(flag(name), "9"), name) == 9


@pytest.mark.parametrize(("bytes_", "right"), [("0", True), ("268435456", True), ("1000", False), ("-1", False)])
def test_memory_of_a_worker_is_none_or_enough(bytes_, right):
    if right:
        assert parsed("--store", "here", "--worker-memory-bytes", bytes_).worker_memory_bytes == int(bytes_)
    else:
        with pytest.raises(ValueError, match="at least 268435456 bytes"):
            parsed("--store", "here", "--worker-memory-bytes", bytes_)


def test_every_setting_says_what_it_is_and_numbers_say_their_unit():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in (int, float) and name != "threads":
            unit = (
                "_ms",
                "_s",
                "_rows",
                "_bytes",
                "_labels",
                "_in_flight",
                "_models",
                "_calls",
                "_uploads",
                "_connections",
                "_nodes",
                "_ends",
                "_depth",
                "_share",
            )
            assert name.endswith(unit), name


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        parsed("--store", "here").threads = 3


def serve(*flags, **environment):
    return subprocess.run(
        [sys.executable, "-m", "assayd", "serve", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], "--store"),
        (["--store", "here", "--threads", "many"], "--threads"),
        (["--store", "here", "--threads", "-1"], "--threads"),
        (["--store", "here", "--listen", "nowhere"], "--listen"),
        (["--store", "here", "--provider", "abacus"], "--provider"),
        (["--store", "here", "--batch-rows", "0"], "--batch-rows"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_flag(flags, named, tmp_path):
    got = serve(*flags)
    assert got.returncode == 2
    (line,) = got.stderr.splitlines()
    assert line.startswith(f"assayd serve: {named}: ")


def test_a_bad_environment_variable_is_one_line_too():
    got = serve("--store", "here", ASSAYD_MAX_QUEUED_ROWS="0")
    assert got.returncode == 2
    (line,) = got.stderr.splitlines()
    assert line.startswith("assayd serve: --max-queued-rows: ")


def test_each_bad_value_has_its_line():
    got = serve("--threads", "x", "--gather-ms", "5000")
    assert [line.split(": ")[1] for line in got.stderr.splitlines()] == ["--store", "--threads", "--gather-ms"]


def test_an_unknown_flag_is_refused():
    got = serve("--store", "here", "--colour", "red")
    assert got.returncode == 2
    assert "--colour" in got.stderr
    assert "Traceback" not in got.stderr


def test_help_lists_every_flag():
    got = serve("--help")
    assert got.returncode == 0
    for name in NAMES:
        assert flag(name) in got.stdout


def unnamed(names, text):
    """Those whose flag doesn't stand in the text."""
    return [name for name in names if not re.search(rf"(?<![\w-]){flag(name)}(?![\w-])", text)]


def test_every_setting_is_explained_to_who_runs_the_server():
    assert unnamed(NAMES, (Path(__file__).parents[2] / "deploy" / "README.md").read_text()) == []


def test_a_longer_flag_does_not_explain_a_shorter_one():
    assert unnamed(["max_model", "tls_cert"], "`--max-model-bytes`, --tls-cert: a file") == ["max_model"]
