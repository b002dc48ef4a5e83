"""The Jacobian lens (Gurnee et al. 2026): the stream's average first-order effect on the last one.

    h' = J h          J: of the site (see `jacobians`)

What later layers make of the stream is read, to first order and on average over prompts, where the logit lens reads it
as if it stayed what it is. It is not fitted to come near the model's output: its KL says how linear the way there is.
The reference leaves a prompt's last token out; here it counts, for it is where a reply begins.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from probes.lenses.jacobians import Sums, dealt_coordinates, sum_jacobians
from probes.lenses.lens import Lens, stream_sites
from probes.lenses.method import Lesson, lens_methods, require_lesson
from workbench.errors import RunError
from workbench.models import Subject, token_rows
from workbench.runs import writing


@lens_methods.register("jacobian")
@dataclass(frozen=True)
class Jacobian:
    """`rounds` says over how many gradients each row of a Jacobian is averaged, each of another prompt."""

    rounds: float = 2.0
    batch_size: int = 32
    seed: int = 0

    @property
    def learns(self) -> bool:
        return True

    @property
    def options(self) -> dict[str, object]:
        """Its fields as JSON keeps them."""
        return asdict(self)

    def control(self) -> None:
        return None

    def fit(self, subject: Subject, lesson: Lesson | None = None) -> Lens:
        """Raises LensError without a lesson, CaptureError where gradients are not finite."""
        given = require_lesson(lesson, "jacobian")
        sites, rows = stream_sites(subject), token_rows(subject, given.prompts)
        dealt = dealt_coordinates(len(rows), subject.d_model, self.rounds, self.seed)
        path = given.checkpoint
        begun = _load(path) if path is not None and path.exists() else Sums.empty(len(sites) - 1, subject.d_model)
        found = sum_jacobians(
            subject, rows, sites, dealt, begun, batch_size=self.batch_size,
            keep=lambda sums: None if path is None else _save(path, sums),
        )  # fmt: skip
        seen = frozenset(prompt.digest for prompt in given.prompts)
        return Lens(
            "jacobian", sites, subject.name, subject.digest, found.mean(), seen=seen, settings=self.options
        )  # fmt: skip


def _save(path: Path, sums: Sums) -> None:
    with writing(path) as draft:
        save_file({"rows": sums.rows, "counts": sums.counts, "done": torch.tensor(sums.done)}, draft)


def _load(path: Path) -> Sums:
    try:
        held = load_file(path)
        return Sums(held["rows"], held["counts"], int(held["done"]))
    except (SafetensorError, OSError, KeyError) as error:
        raise RunError(f"{path} is not a checkpoint of this lens ({error}); remove it and fit again.") from error
