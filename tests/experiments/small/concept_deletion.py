from typing import Any

from tests.experiments.small import Bench
from tests.experiments.small._concepts import a_concept_folder


def settings(bench: Bench) -> dict[str, Any]:
    few = {"group": 1, "n_tokens": 500, "share": 0.2, "seeds": [0]}
    return few | {"model": bench.model, "concepts": str(a_concept_folder(bench))}
