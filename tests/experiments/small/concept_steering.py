from typing import Any

from tests.experiments.small import Bench
from tests.experiments.small._concepts import a_bottleneck_run, a_concept_folder


def settings(bench: Bench) -> dict[str, Any]:
    few = {"n_concepts": 2, "strengths": [2.0, 4.0], "max_new_tokens": 3}
    models = {"model": bench.model, "reader_model": str(bench.folders["gpt2"])}
    return few | models | {"concepts": str(a_concept_folder(bench)), "bottleneck": str(a_bottleneck_run(bench))}
