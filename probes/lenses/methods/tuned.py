"""The tuned lens (Belrose et al. 2023): a translator for each site, fitted to what the model says in the end.

    h' = M h + m          M, m: of the site, of least KL from the model's own output

They begin as least squares onto the last stream (`translators`), which is most of the way and takes seconds, and go on
by a few steps down the KL itself (`descent`). A model that bends its logits at the end stays with least squares.

It learns what goes together: where a layer knows of harm, and harm goes with refusal in the prompts it was fitted to,
it reads refusal there, whether or not the model makes one of the other. What the model makes of it, the Jacobian lens
reads to first order, and patching exactly.
"""

from dataclasses import dataclass, field, replace

import torch

from probes.lenses.descent import Descent, DescentSettings
from probes.lenses.lens import Lens, stream_sites
from probes.lenses.method import Lesson, lens_methods, require_lesson
from probes.lenses.streams import Streams
from probes.lenses.translators import least_squares
from workbench.errors import ModelError
from workbench.models import Head, Subject
from workbench.runs import note


@lens_methods.register("tuned")
@dataclass(frozen=True)
class Tuned:
    """`shuffled` is the control: every token is taught the last stream of another one."""

    penalty: float = 0.03
    descent: DescentSettings = field(default_factory=DescentSettings)
    tokens: int = 8192
    shuffled: bool = False
    seed: int = 0

    @property
    def learns(self) -> bool:
        return True

    @property
    def options(self) -> dict[str, object]:
        """Its fields as JSON keeps them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "descent": self.descent.model_dump()
        }

    def control(self) -> "Tuned":
        return replace(self, shuffled=True)

    def fit(self, subject: Subject, lesson: Lesson | None = None) -> Lens:
        """Raises LensError without a lesson, CaptureError where activations are not finite."""
        given, sites = require_lesson(lesson, "tuned"), stream_sites(subject)
        streams = given.streams(subject, self.tokens)
        streams = _dealt(streams, self.seed) if self.shuffled else streams
        affine, head = least_squares(streams, self.penalty), _head(subject) if self.descent.steps else None
        if head is not None:
            affine = Descent(head, streams, affine, self.descent).run(given.checkpoint)
        seen = frozenset(prompt.digest for prompt in given.prompts)
        said = self.options | {"descended": head is not None}
        return Lens("tuned", sites, subject.name, subject.digest, *affine, seen, said)


def _head(subject: Subject) -> Head | None:
    try:
        return Head.of(subject)
    except ModelError as error:
        note(f"{error} Its tuned lens is fitted by least squares alone.")
        return None


def _dealt(streams: Streams, seed: int) -> Streams:
    """The last streams dealt anew among the tokens."""
    order = torch.randperm(len(streams), generator=torch.Generator().manual_seed(seed))
    return replace(streams, values=torch.cat([streams.values[:-1], streams.values[-1:, order]]))
