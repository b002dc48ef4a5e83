from typing import Any

from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    return {"model": bench.model, "n_train": 6, "n_val": 4, "filtered": False}
