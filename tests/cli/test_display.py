"""What is printed is what was meant: strict JSON, and text that is never markup."""

import json

import pytest

from workbench.cli.display import show, table


def test_json_is_strict_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": [float("nan"), {"b": float("inf")}], "c": 1.5}, True)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {"a": [None, {"b": None}], "c": 1.5}


def test_model_text_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show(None, False, "[bold]said[/bold]", table("T", ("reply",), [["[red]x[/red] [link=http://a]y[/link]"]]))
    out = capsys.readouterr().out
    assert "[bold]said[/bold]" in out
    assert "[red]x[/red]" in out
