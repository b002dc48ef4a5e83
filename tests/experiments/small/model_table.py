from typing import Any

from tests.experiments.small import Bench
from workbench.search import SearchSettings
from workbench.studies import demonstration


def settings(bench: Bench) -> dict[str, Any]:
    search = SearchSettings(n_train=6, n_val=4, layers=(1,), positions=(-1,), filtered=False, refusal_starts=("I",))
    bench.patch.setattr(demonstration, "demo_settings", lambda subject: search)
    return {"models": [str(bench.folders[each]) for each in ("llama", "gpt2")], "n_test": 3, "max_new_tokens": 3}
