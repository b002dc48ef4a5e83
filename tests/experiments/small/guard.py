from typing import Any

from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    return {"model": bench.model, "n_harmless": 20}
