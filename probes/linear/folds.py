"""Folds that split no topic, so that a probe is never read on a template that it was fitted on.

1. Prompts of one category are one topic. A category that holds most of a class is no topic but a label (a public set
   that calls all its prompts "benign"), and is left aside.
2. Prompts with nearly the same words are one topic too, whatever their category (`prompts.splits`).
3. What is linked by either goes whole into one fold; folds are stratified by class.
"""

from collections import Counter

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from workbench.errors import ProbeError
from workbench.prompts import Prompts
from workbench.prompts.splits import near_duplicate_groups


def topic_groups(prompts: Prompts, positive: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """A topic's number for each prompt."""
    n = len(prompts)
    near = near_duplicate_groups([[prompt.text] for prompt in prompts])
    categories = _categories(prompts, positive)
    keys = {name: number for number, name in enumerate(sorted(set(categories) - {None}, key=str))}
    named = np.array([-1 - row if name is None else keys[name] for row, name in enumerate(categories)])
    # Prompts are linked to their two groups, and so to each other: a graph of prompts and groups.
    links = np.concatenate([np.unique(near, return_inverse=True)[1], np.unique(named, return_inverse=True)[1] + n])
    rows, ones = np.tile(np.arange(n), 2), np.ones(2 * n, dtype=bool)
    graph = csr_matrix((ones, (rows, links + n)), shape=(3 * n, 3 * n))
    return np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1]


def _categories(prompts: Prompts, positive: Bool[np.ndarray, " n"]) -> list[str | None]:
    """Each prompt's category, but for those that hold over half of a class."""
    names = [prompt.category for prompt in prompts]
    wide = {
        name
        for side in (positive, ~positive)
        for name, count in Counter(names[row] for row in np.flatnonzero(side)).items()
        if count > side.sum() / 2
    }
    return [None if name in wide else name for name in names]


def require_classes(positive: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"], folds: int) -> None:
    """Raise ProbeError where there is one class only, or less of anything than there are folds."""
    one, other = int(positive.sum()), int((~positive).sum())
    if min(one, other) == 0:
        raise ProbeError(f"There are {one} positive and {other} negative prompts, one class only; give both.")
    topics = len(set(groups.tolist()))
    if min(one, other, topics) < folds:
        raise ProbeError(
            f"{folds} folds need as many prompts of a class and as many topics; there are {one} positive and {other} "
            f"negative prompts in {topics} topics: give more, or ask for fewer folds."
        )


def grouped_folds(
    positive: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"], folds: int, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """Each prompt's fold; no topic is in two, and without any fold both classes are left to fit on."""
    require_classes(positive, groups, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = np.empty(len(positive), dtype=int)
    for number, (train, test) in enumerate(splitter.split(positive, positive, groups)):
        found[test] = number
        if len(set(positive[train].tolist())) < 2:
            raise ProbeError("A topic holds nearly all prompts of a class; give prompts of more topics.")
    if not any(len(set(positive[found == number].tolist())) == 2 for number in range(folds)):
        raise ProbeError("No fold has prompts of both classes; give topics that both classes have prompts of.")
    return found
