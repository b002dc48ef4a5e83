"""A tiny set of concepts, and a bottleneck of a tiny model that was trained on it."""

import json
from pathlib import Path

from tests.concepts.planted import a_set
from tests.experiments.small import Bench
from workbench.concepts import ConceptSettings, load_concepts, record_bottleneck
from workbench.models import open_model


def a_concept_folder(bench: Bench) -> Path:
    """Concepts of one word each: rain and wind."""
    folder = bench.scratch / "concepts"
    folder.mkdir(parents=True, exist_ok=True)
    for concept in a_set(2, 20).concepts:
        lines = [f"name = {json.dumps(concept.name)}"]
        lines += [f"{side} = {json.dumps(getattr(concept, side))}" for side in ("positive", "near_miss")]
        (folder / f"{concept.name}.toml").write_text("\n".join(lines))
    return folder


def a_bottleneck_run(bench: Bench) -> Path:
    """A run of `concepts train` on them."""
    how = ConceptSettings(discovered=8, k_discovered=4, epochs=1)
    concepts, out = load_concepts(a_concept_folder(bench)), bench.scratch / "bottleneck"
    return record_bottleneck(open_model(bench.model), concepts, settings=how, out=out).path
