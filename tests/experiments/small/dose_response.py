from typing import Any

from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    few = {"n_train": 6, "n_search": 4, "n_val": 3, "n_test": 3, "doses": [0.5, 1.0], "max_new_tokens": 3}
    return few | {"model": bench.model, "filtered": False}
