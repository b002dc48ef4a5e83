"""Every result that a person looks at shows itself: short in a line, escaped in a notebook, with its table."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pandas

import probes
import workbench
from workbench.display import Shown


class Told(Shown):
    """A result with a table of `n` rows."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __repr__(self) -> str:
        return f"Told(<script>, {self.n})"

    def to_pandas(self) -> pandas.DataFrame:
        return pandas.DataFrame({"said": ["<b>bold</b>"] * self.n, "value": [1 / 3] * self.n})


class Bare(Shown):
    """A result without a table."""

    def __repr__(self) -> str:
        return "Bare(&)"


def test_what_it_says_and_its_first_rows_are_shown_as_text() -> None:
    html = Told(20)._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert html.count("&lt;b&gt;bold") == 12
    assert "0.3333<" in html
    assert "12 of 20 rows" in html
    assert "rows;" not in Told(3)._repr_html_()
    assert Bare()._repr_html_() == "<code>Bare(&amp;)</code>"


def results() -> Iterator[type]:
    """Every public class of the library that draws itself or has a table."""
    for package in (workbench, probes):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".dashboard" in found.name or ".front" in found.name:
                continue
            module = importlib.import_module(found.name)
            for _, value in inspect.getmembers(module, inspect.isclass):
                mine = value.__module__ == found.name and not value.__name__.startswith("_")
                if mine and any(name in vars(value) for name in ("plot", "to_pandas")):
                    yield value


def test_every_result_has_a_line_a_picture_for_notebooks_and_a_table() -> None:
    found = list(results())
    assert len(found) > 25
    assert [each for each in found if "__repr__" not in vars(each)] == [], "its line would list every field"
    assert [each for each in found if not hasattr(each, "_repr_html_")] == []
    assert [each.__name__ for each in found if not hasattr(each, "to_pandas")] == ["Lens"]
