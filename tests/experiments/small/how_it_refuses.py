from typing import Any

from probes import harm_and_refusal
from tests.experiments.small import Bench
from workbench.prompts import builtin_prompts


def settings(bench: Bench) -> dict[str, Any]:
    said = [True, False] * 50
    bench.patch.setattr(harm_and_refusal, "refusals", lambda subject, prompts, n: said[: len(prompts)])
    few = {"n_probed": 40, "n_leaning": 8, "n_parts": 8, "n_patched": 4, "n_heads": 4}
    return few | {"model": bench.model} | {f"test_{side}": written(bench, side) for side in ("harmful", "harmless")}


def written(bench: Bench, side: str) -> str:
    """A few test prompts as a file."""
    file = bench.scratch / f"{side}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(prompt.text for prompt in builtin_prompts(side, "test").sample(12)))
    return str(file)
