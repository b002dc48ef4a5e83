"""Of the product of edits, scopes or conditions, and architectures, the cases in which every pair of two still meets.

A law over 16 edits, 8 scopes and 6 architectures has 768 cases, and 128 of them hold every edit with every scope, every
edit on every architecture and every scope on every architecture: those whose numbers along the three axes sum to a
multiple of the shortest axis. The others are marked `product`; `make laws` runs them too.

A law marked `each` needs no pairs, for it is a matter of the code that every edit and every architecture goes through:
it has as many cases as its longest axis, in which every edit and every architecture is met.

A hook of pytest, which `tests/conftest.py` takes in.
"""

from collections import defaultdict
from collections.abc import Sequence

import pytest

_AXES = (("edit",), ("scope", "name"), ("tiny", "bfloat16"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    products: dict[str, list[tuple[pytest.Item, tuple[str, ...]]]] = defaultdict(list)
    for item in items:
        place = _place(item)
        if place is not None:
            products[item.nodeid.split("[")[0]].append((item, place))
    for cases in products.values():
        axes = [sorted(set(values)) for values in zip(*(place for _, place in cases), strict=True)]
        for item, place in cases:
            if not (met if item.get_closest_marker("each") else kept)(place, axes):
                item.add_marker(pytest.mark.product)


def kept(place: Sequence[str], axes: Sequence[Sequence[str]]) -> bool:
    """Whether a case is one of the fewest in which all pairs meet."""
    return sum(axis.index(value) for value, axis in zip(place, axes, strict=True)) % min(map(len, axes)) == 0


def met(place: Sequence[str], axes: Sequence[Sequence[str]]) -> bool:
    """Whether a case is one of the fewest in which every value is met: the longest axis goes through the others."""
    longest = max(axes, key=len)
    turn = longest.index(place[axes.index(longest)])
    return all(axis.index(value) == turn % len(axis) for value, axis in zip(place, axes, strict=True))


def _place(item: pytest.Item) -> tuple[str, ...] | None:
    """Where a case of a law stands along the axes that it has; None where it has too few to be thinned."""
    values = getattr(getattr(item, "callspec", None), "params", {})
    found = tuple(str(values[name]) for names in _AXES for name in names if name in values)
    least = 2 if item.get_closest_marker("each") else len(_AXES)
    return found if len(found) >= least and "tests/laws/" in item.nodeid else None
