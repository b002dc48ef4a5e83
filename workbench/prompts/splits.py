"""Splits without leakage: what is nearly the same text lands in the same part.

1. Rows whose word sets overlap by at least `SIMILAR` (Jaccard), on either side of a pair, are linked.
2. Linked rows are one group, and a group goes whole into one part.
3. Within each category, groups are shuffled by the seed and go to the part that is furthest from its share.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from workbench.prompts.prompt import Prompts

SIMILAR = 0.6
FRACTIONS = {"train": 0.55, "val": 0.2, "test": 0.25}
TEST = "test"  # the part that is locked
_ROWS = 1000  # texts that are compared with all others at once


def split(prompts: Prompts, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0) -> dict[str, Prompts]:
    """Split a set into named parts, stratified by category, near-duplicates kept together."""
    parts = split_rows([[p.text] for p in prompts], [p.category for p in prompts], fractions, seed)
    return {
        name: Prompts(prompts.pick(rows).items, f"{prompts.name}:{name}", locked=name == TEST)
        for name, rows in parts.items()
    }


def split_rows(
    rows: Sequence[Sequence[str]],
    categories: Sequence[str | None],
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
) -> dict[str, list[int]]:
    """Row numbers by part, for rows of one or more texts each."""
    groups = near_duplicate_groups(rows)
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    generator = np.random.default_rng(seed)
    by_category: dict[str | None, list[int]] = {}
    for group in sorted(set(groups.tolist())):
        first = int(np.flatnonzero(groups == group)[0])
        by_category.setdefault(categories[first], []).append(group)
    for category in sorted(by_category, key=str):
        filled = dict.fromkeys(fractions, 0)
        total = int(sum(np.sum(groups == group) for group in by_category[category]))
        for group in generator.permutation(by_category[category]):
            members = np.flatnonzero(groups == group).tolist()
            part = max(fractions, key=lambda name: fractions[name] * total - filled[name])
            filled[part] += len(members)
            parts[part].extend(members)
    return {name: sorted(members) for name, members in parts.items()}


def near_duplicate_groups(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """A group number for each row; rows with a nearly equal text share it."""
    links = csr_matrix((len(rows), len(rows)), dtype=bool)
    for column in zip(*rows, strict=True):
        links = links + _near(column)
    return np.asarray(connected_components(links, directed=False)[1])


def _near(texts: Sequence[str]) -> csr_matrix:
    """Which texts are nearly equal, some rows at a time: all pairs of a large set at once would fill the memory."""
    # Here, for it takes a second to import, and who only reads or writes prompts does not need it.
    from sklearn.feature_extraction.text import CountVectorizer

    count = CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b")
    if not any(map(count.build_analyzer(), texts)):
        return csr_matrix((len(texts), len(texts)), dtype=bool)  # signs alone: nothing to compare by
    words = count.fit_transform(texts)
    sizes = np.asarray(words.sum(axis=1)).ravel()
    found: list[np.ndarray] = []
    for start in range(0, len(texts), _ROWS):
        shared = (words[start : start + _ROWS] @ words.T).tocoo()
        rows = shared.row + start
        near = shared.data / np.maximum(sizes[rows] + sizes[shared.col] - shared.data, 1) >= SIMILAR
        found.append(np.stack([rows[near], shared.col[near]]))
    row, column = np.concatenate(found, axis=1)
    return csr_matrix((np.ones(len(row), dtype=bool), (row, column)), shape=(len(texts), len(texts)))
