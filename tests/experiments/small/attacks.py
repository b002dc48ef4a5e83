from typing import Any

from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    few = {"n_train": 6, "n_val": 4, "n_test": 3, "max_new_tokens": 3}
    return few | {"model": bench.model, "filtered": False}  # a tiny model refuses nothing
