"""A page for each kind of method: everything that is registered, with its equation, paper, parameters and laws.

All of it is read from where it stands: the module's and the class's docstrings, the fields and their bounds, and the
tests that name the method, as pytest collects them.
"""

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COLLECTOR = "docs.making.laws"


@dataclass(frozen=True)
class Kind:
    """A registry, what its page is called, and which tests ask every entry (a file or folder, and the parameter)."""

    title: str
    says: str
    module: str
    registry: str
    tests: str = ""
    parameter: str = ""


KINDS = {
    "edits": Kind("Edits", "change activations as the model runs", "workbench.interventions.edit", "edits",
                  "tests/laws", "edit"),
    "extractors": Kind("Extractors", "find a direction from activations alone", "workbench.directions.extraction",
                       "extractors", "tests/directions/test_extractors.py", "name"),
    "methods": Kind("Search methods", "make candidate directions by running the model", "workbench.search.methods",
                    "methods", "tests/search/test_methods.py", "name"),
    "searches": Kind("Searches", "spend the model's passes on candidates", "workbench.search.strategies", "strategies",
                     "tests/search/test_finding.py", "search"),
    "metrics": Kind("Metrics", "measure what an edit changed", "workbench.evaluation.metrics", "metrics",
                    "tests/laws", "metric"),
    "judges": Kind("Judges", "call a reply comply, refuse, evade or broken", "workbench.evaluation.judges", "judges",
                   "tests/evaluation/test_judging.py", "judge"),
    "readouts": Kind("Readouts", "are numbers read from activations, which gates ask", "workbench.directions.readout",
                     "readouts"),
    "probes": Kind("Probe methods", "offer scikit-learn pipelines", "probes.linear.method", "methods",
                   "tests/probes/test_linear_probes.py", "method"),
    "lenses": Kind("Lenses", "say what a layer would say", "probes.lenses.method", "lens_methods",
                   "tests/probes/test_lenses.py", "name"),
    "planes": Kind("Planes", "lay activations into two dimensions", "probes.geometry.plane", "planes",
                   "tests/probes/test_geometry.py", "name"),
    "weight-edits": Kind("Weight edits", "write a recipe into matrices", "workbench.weights.edit", "weight_edits",
                         "tests/weights/test_applying.py", "name"),
    "exports": Kind("Export formats", "hand an edit to others", "workbench.weights.export", "exports", "tests/laws",
                    "form"),
    "defences": Kind("Defences", "train models that are harder to edit", "workbench.studies.defence.method",
                     "defences", "tests/studies/test_defence.py", "method"),
    "engines": Kind("Engines", "are places where a sweep's tasks run", "workbench.runs.engines", "engines",
                    "tests/runs/test_tasks.py", "engine"),
}  # fmt: skip
Laws = Mapping[tuple[str, str], Mapping[str, int]]  # of a page and a method: how many cases of each law


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of every page."""
    laws = collected()
    for name, kind in KINDS.items():
        entries = getattr(importlib.import_module(kind.module), kind.registry).items()
        parts = [f"# {kind.title}", f"{kind.title} {kind.says}. There are {len(entries)}; each is one file."]
        parts += [_entry(each, method, laws.get((name, each), {})) for each, method in entries]
        yield f"methods/{name}.md", "\n\n".join(parts) + "\n"


def collected() -> Laws:
    """Which tests ask each method, without running them."""
    asked = {name: [kind.tests, kind.parameter] for name, kind in KINDS.items() if kind.tests}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", COLLECTOR, "-p", "no:cacheprovider"]
    paths = sorted({tests for tests, _ in asked.values()})
    env = os.environ | {"WORKBENCH_LAWS": json.dumps(asked), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *paths], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("laws: ")]
    if done.returncode or not lines:
        raise RuntimeError(f"The tests cannot be collected:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = json.loads(lines[-1].removeprefix("laws: "))
    return {(kind, method): tests for kind, methods in found.items() for method, tests in methods.items()}


def _entry(name: str, method: Any, laws: Mapping[str, int]) -> str:
    module = inspect.getmodule(method)
    idea = inspect.cleandoc((module and module.__doc__) or "")
    doc = inspect.getdoc(method) or ""
    where = "" if module is None else f"`{module.__name__.replace('.', '/')}.py`"
    parts = [f"## {name}", _prose(idea), _prose(doc) if doc and doc not in idea else "", _parameters(method)]
    if laws:
        held = [f"| {law} | {n} |" for law, n in sorted(laws.items())]
        parts.append("\n".join(["| it is under the law | cases |", "|---|---|", *held]))
    return "\n\n".join([*filter(None, parts), f"In {where}."])


def _prose(text: str) -> str:
    """A docstring as Markdown: what is indented is an equation or a table, and numbered lines are a list."""
    lines, shown = text.splitlines(), []
    for before, line in zip(["", *lines], lines, strict=False):
        starts = line.startswith(("1. ", "- ")) and before.strip()
        shown += ["", line] if starts else [line]
    return "\n".join(shown).replace("<", "&lt;") if "`" not in text else "\n".join(shown)


def _parameters(method: Any) -> str:
    if not is_dataclass(method):
        return ""
    rows = []
    for item in fields(method):
        default = "" if item.default is MISSING else f"`{item.default!r}`"
        bounds = f"{item.metadata['low']:g} to {item.metadata['high']:g}" if "low" in item.metadata else ""
        kind = getattr(item.type, "__name__", str(item.type)).replace("|", "\\|")
        rows.append(f"| `{item.name}` | `{kind}` | {default} | {bounds} | {item.metadata.get('help', '')} |")
    return "\n".join(["| parameter | type | default | range | |", "|---|---|---|---|---|", *rows]) if rows else ""
