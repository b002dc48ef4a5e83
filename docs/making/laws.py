"""A plugin of pytest: as tests are collected, which of them ask which registered method. Prints one line of JSON."""

import json
import os
from collections import defaultdict

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    asked = json.loads(os.environ["WORKBENCH_LAWS"])
    found: dict[str, dict[str, dict[str, int]]] = {kind: defaultdict(lambda: defaultdict(int)) for kind in asked}
    for item in session.items:
        path, _, test = item.nodeid.partition("::")
        values = getattr(getattr(item, "callspec", None), "params", {})
        for kind, (tests, parameter) in asked.items():
            value = values.get(parameter)
            if isinstance(value, str) and path.startswith(tests):
                found[kind][value][_said(test)] += 1
    print("\nlaws: " + json.dumps(found))  # noqa: T201


def _said(test: str) -> str:
    return test.split("[")[0].removeprefix("test_").replace("_", " ")
