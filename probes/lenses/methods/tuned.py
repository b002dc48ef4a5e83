"""The tuned lens (Belrose et al. 2023): a translator for each site, fitted to what the model says in the end.

h' = M h + m          M, m: of the site, fitted to last streams (see `translators`)
"""

from dataclasses import asdict, dataclass, replace

import torch

from probes.lenses.lens import Lens, stream_sites
from probes.lenses.method import Lesson, lens_methods, require_lesson
from probes.lenses.streams import Streams, gather_streams
from probes.lenses.translators import least_squares
from workbench.models import Subject


@lens_methods.register("tuned")
@dataclass(frozen=True)
class Tuned:
    """`shuffled` is the control: every token is taught the last stream of another one."""

    penalty: float = 0.1
    tokens: int = 8192
    shuffled: bool = False
    seed: int = 0

    @property
    def learns(self) -> bool:
        return True

    def control(self) -> "Tuned":
        return replace(self, shuffled=True)

    def fit(self, subject: Subject, lesson: Lesson | None = None) -> Lens:
        """Raises LensError without a lesson, CaptureError where activations are not finite."""
        given, sites = require_lesson(lesson, "tuned"), stream_sites(subject)
        streams = gather_streams(subject, given.prompts, sites, most=self.tokens)
        matrices, shifts = least_squares(_dealt(streams, self.seed) if self.shuffled else streams, self.penalty)
        seen = frozenset(prompt.digest for prompt in given.prompts)
        return Lens("tuned", sites, subject.name, subject.digest, matrices, shifts, seen, asdict(self))


def _dealt(streams: Streams, seed: int) -> Streams:
    """The last streams dealt anew among the tokens."""
    order = torch.randperm(len(streams), generator=torch.Generator().manual_seed(seed))
    return replace(streams, values=torch.cat([streams.values[:-1], streams.values[-1:, order]]))
