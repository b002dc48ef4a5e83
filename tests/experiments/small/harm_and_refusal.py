from typing import Any

from experiments import harm_and_refusal
from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    bench.patch.setattr(harm_and_refusal, "DEPTHS", (0.5,))
    bench.patch.setattr(harm_and_refusal, "QUESTION", "{request} Harmful?")
    said = [True, False] * 500
    bench.patch.setattr(harm_and_refusal, "refusals", lambda subject, prompts: said[: len(prompts)])
    return {"model": bench.model, "n_harmless": 8, "n_steered": 2}
