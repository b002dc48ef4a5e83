"""A registry finds its entries by itself, by name, once."""

import pytest

from workbench import registry as module
from workbench.errors import UsageError
from workbench.interventions.edit import edits
from workbench.interventions.edits.ablate import Ablate
from workbench.registry import Registry


def _registry() -> Registry[object]:
    return Registry("thing", "tests.plots", "tests.things")


def test_what_is_registered_is_found_by_name() -> None:
    things = _registry()
    one = things.register("one")(object())
    assert things["one"] is one
    assert list(things) == ["one"]
    assert things.name_of(one) == "one"


def test_a_name_is_taken_once() -> None:
    things = _registry()
    things.register("one")(object())
    with pytest.raises(ValueError, match="registered twice"):
        things.register("one")(object())


def test_an_unknown_name_lists_the_known_ones() -> None:
    things = _registry()
    things.register("one")(object())
    with pytest.raises(UsageError, match="no thing called 'two'; there are: one"):
        things["two"]
    with pytest.raises(UsageError, match="not a registered thing"):
        things.name_of("two")


def test_the_package_is_scanned_without_being_imported_first() -> None:
    assert {"ablate", "add"} <= set(edits)
    assert edits["ablate"] is Ablate


def test_another_distribution_joins_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    things = _registry()

    class Entry:
        @staticmethod
        def load() -> None:
            things.register("theirs")(object())

    monkeypatch.setattr(module, "entry_points", lambda group: [Entry] if group == "tests.things" else [])
    assert list(things) == ["theirs"]


def test_a_tab_lists_what_is_registered() -> None:
    from workbench.interventions.edit import edits

    assert edits._ipython_key_completions_() == list(edits)
    assert repr(edits).startswith("Registry(edit: ablate, ")
