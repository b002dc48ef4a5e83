"""The laws as one table at the end of the run: how many cases of each hold, by law and edit.

Hooks of pytest, which `tests/conftest.py` takes in, so that they are there in the process that prints too.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

_LAWS = {
    "no_op": "1 no-op", "changes_the_logits": "(changes)", "equals_uncached": "2 cache", "says_the_same": "3 batch",
    "equals_generating": "4 stream", "no_bit_of_another": "5 rows", "left_behind": "6 clean",
    "never_fired": "7 fired", "weights_are_the_same": "8 weights", "write_side": "9 writes", "same_seed": "12 repeat",
    "without_a_jump": "13 grows",
}  # fmt: skip
_held: Counter[tuple[str, str]] = Counter()
_asked: Counter[tuple[str, str]] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Say of which law and edit a case is; the report goes to the process that prints the table."""
    report = yield
    edit = getattr(item, "callspec", None) and item.callspec.params.get("edit")
    law = next((law for part, law in _LAWS.items() if part in item.name.split("[")[0]), None)
    if edit and law:
        report.user_properties.append(("law", (law, edit)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    place = dict(report.user_properties).get("law")
    if place and report.when == "call":
        _asked[tuple(place)] += 1
        _held[tuple(place)] += report.passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    edits = sorted({edit for _, edit in _asked})
    if not edits:
        return
    terminalreporter.section("laws: cases that hold, of each law and edit")
    width = max(map(len, edits)) + 1
    terminalreporter.write_line(" " * width + "".join(f"{law:>11}" for law in _LAWS.values()))
    for edit in edits:
        cells = (f"{_held[law, edit]}/{_asked[law, edit]}" if _asked[law, edit] else "" for law in _LAWS.values())
        terminalreporter.write_line(f"{edit:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
