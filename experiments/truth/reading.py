"""What the model makes of statements and of answers, and what the direction of truth reads in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64
from safetensors import safe_open
from safetensors.numpy import save_file

from probes.linear import Probe, ProbeSettings
from probes.linear.surface import Surface
from probes.truth import builtin_statements, fitted_truth, polarity, read_items, reports, self_report
from probes.truth.direction import LAST, after_blocks, log_probabilities
from workbench.activations import Activations, capture
from workbench.activations.activations import Chunk
from workbench.evaluation.truthful import TruthfulQuestion
from workbench.models import Site, Subject
from workbench.runs import write_figure, write_text, writing
from workbench.studies.parts import Valued

READ, PROBE = "read.safetensors", "truth.safetensors"


@dataclass(frozen=True, eq=False)
class Read:
    """What a model makes of the built-in statements."""

    acts: Activations
    surface: Surface
    likelihood: Float64[np.ndarray, " n"]
    odds: Float64[np.ndarray, " n"]
    model_name: str

    def save(self, out: Path) -> None:
        tensors = {"likelihood": self.likelihood, "odds": self.odds, "lengths": self.surface.lengths}
        tensors |= {"first": self.surface.first, "values": self.acts.values.numpy()}
        about = {
            "model": self.model_name,
            "digest": self.acts.model_digest,
            "sites": " ".join(map(str, self.acts.sites)),
        }
        with writing(out / READ) as draft:
            save_file(tensors, draft, about)

    @classmethod
    def load(cls, out: Path) -> "Read":
        statements = builtin_statements()
        with safe_open(out / READ, framework="np") as file:
            about, held = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        chunk = Chunk(tuple(range(len(statements))), torch.from_numpy(held["values"]))
        sites, said = tuple(map(Site.parse, about["sites"].split())), statements.said()
        labels, digests = tuple(prompt.label for prompt in said), tuple(prompt.digest for prompt in said)
        acts = Activations((chunk,), sites, (LAST,), labels, digests, about["digest"])
        surface = Surface(np.array(statements.texts, dtype=object), held["lengths"], held["first"])
        return cls(acts, surface, held["likelihood"], held["odds"], about["model"])


def read(subject: Subject, out: Path) -> None:
    """Keep all that `statements` needs of the model."""
    statements = builtin_statements()
    acts = capture(subject, statements.said(), sites=after_blocks(subject), positions=[LAST])
    likely, odds = log_probabilities(subject, statements.texts), reports(subject, statements.texts)
    Read(acts, Surface.of(subject, statements.plain()), likely, odds, subject.name).save(out)


def on_statements(out: Path) -> dict[str, Any]:
    """The direction, polarity, and the self-report."""
    statements, found = builtin_statements(), Read.load(out)
    how = ProbeSettings(inner_folds=3)
    truth = fitted_truth(found.acts, statements, found.surface, found.likelihood, found.model_name, settings=how)
    truth.probe.save(out / PROBE)
    turned = polarity(found.acts, statements)
    report = self_report(statements, found.odds, truth.decisions)
    for name, result in (("truth", truth), ("polarity", turned), ("report", report)):
        write_figure(out / f"{name}.html", result.plot())
    table = report.to_pandas().assign(likelihood=found.likelihood)
    write_text(out / "statements.csv", table.to_csv(index=False))
    return {"truth": truth.to_json(), "polarity": turned.to_json(), "report": report.to_json(), "values": []}


def on_items(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """What the direction tells of the answers of test questions."""
    probe, statements = Probe.load(out / PROBE), builtin_statements()
    x = Read.load(out).acts.at(probe.site, LAST).double().numpy()
    found = read_items(subject, questions, probe.direction(), signed_by=(x, statements.true))
    write_figure(out / "items.html", found.plot())
    write_text(out / "items.csv", found.to_pandas().to_csv(index=False))
    each = {f"{way}/questions/{asked}": found.each(way, asked) for way in found.values for asked in found.asked_of(way)}
    each |= {"answers/questions/MC2": found.shares, "direction where the report is wrong/questions/pair": found.unsaid}
    return found.to_json() | {"values": [valued(name, values) for name, values in each.items() if values]}


def valued(name: str, values: Sequence[float]) -> dict[str, Any]:
    """The values of a score, as `TruthOnItems` counts them: of yes and no alone, a rate."""
    kind: Literal["rate", "mean"] = "rate" if set(values) <= {0.0, 1.0} else "mean"
    return Valued(name=name, kind=kind, values=tuple(values)).model_dump()
