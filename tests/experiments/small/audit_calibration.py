from typing import Any

from experiments.auditing import finetunes
from tests.experiments.small import Bench


def settings(bench: Bench) -> dict[str, Any]:
    adapter, rewritten = (
        next(how for how in finetunes.OF_TINY if how.kind == kind) for kind in ("adapter", "rewritten")
    )
    few = {"TINY": ("gpt2",), "TAUGHT": 10, "OF_TINY": (adapter, rewritten), "OF_REAL": finetunes.OF_REAL[:1]}
    for name, value in few.items():
        bench.patch.setattr(finetunes, name, value)
    return {"model": bench.model, "dtype": "float32", "n_seeds": 2, "n_real_seeds": 1}
