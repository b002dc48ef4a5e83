import json
from typing import Any

from experiments import concept_transfer
from tests.experiments.small import Bench
from tests.experiments.small._concepts import a_bottleneck_run, a_concept_folder


def settings(bench: Bench) -> dict[str, Any]:
    trained = {"concepts": str(a_concept_folder(bench)), "bottleneck": str(a_bottleneck_run(bench))}
    topics, harms = {"wet": "rain", "air": "wind"}, {"Flood": "rain", "Gale": "wind"}
    tables = {"TOPICS": topics, "LANGUAGES": {"storm": "wind"}, "HARMS": harms}
    for name, table in tables.items():
        bench.patch.setattr(concept_transfer, name, table)
    fortunes, requests = bench.scratch / "fortunes", bench.scratch / "requests.jsonl"
    fortunes.mkdir(exist_ok=True)
    for file in ("wet", "air", "storm"):
        (fortunes / file).write_text("\n%\n".join(f"a saying of {file} number {n}" for n in range(6)) + "\n")
    rows = [{"prompt": f"Ask {n}", "category": ("Flood", "Gale")[n % 2]} for n in range(8)]
    requests.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return trained | {"model": bench.model, "fortunes": str(fortunes), "requests": str(requests), "n_sayings": 4}
