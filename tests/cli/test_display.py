"""What is printed is what was meant: strict JSON, and text that is never markup."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.display import show, table


def test_json_is_strict_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": [float("nan"), {"b": float("inf")}], "c": 1.5}, True)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {"a": [None, {"b": None}], "c": 1.5}


def test_model_text_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    said = "\x1b]0;owned\x07\x1b[2Jhi\x9b31m\r\tthere\nnext\ud800"
    show(None, False, said, table("T", ("reply",), [[said]]))
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x07\x9b\r\ud800")
    assert "there" in out
    assert "next" in out


def run_with(code: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    started = "import sys; from workbench.cli import main, display\n"
    patched = f"def app():\n    {code}\nmain.app = app\nmain.main()"
    return subprocess.run([sys.executable, "-c", started + patched], stderr=subprocess.PIPE, **options)


def test_a_terminal_that_knows_ascii_alone_gets_escapes() -> None:
    code = "display.show({'a': 'caf\\xe9 \\U0001f600'}, True); display.show(None, False, 'caf\\xe9')"
    done = run_with(code, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    value, end = json.JSONDecoder().raw_decode(done.stdout.decode("ascii"))
    assert value == {"a": "caf\xe9 \U0001f600"}
    assert done.stdout.decode("ascii")[end:].split() == ["caf\\xe9"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_output_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:
        done = run_with("display.show({'a': 1}, True)", stdout=full)
    assert done.returncode == 1
    assert b"The output could not be written (No space left on device)" in done.stderr
    assert b"Traceback" not in done.stderr


def test_model_text_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show(None, False, "[bold]said[/bold]", table("T", ("reply",), [["[red]x[/red] [link=http://a]y[/link]"]]))
    out = capsys.readouterr().out
    assert "[bold]said[/bold]" in out
    assert "[red]x[/red]" in out


def test_a_long_line_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    line = "  workbench runs verify " + "a/very/long/path/" * 12
    show({}, False, f"Try next:\n{line}")
    assert line in capsys.readouterr().out.splitlines()
