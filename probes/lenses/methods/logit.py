"""The logit lens (nostalgebraist 2020): the stream as it is, read as if the model ended here.

h' = h
"""

from dataclasses import dataclass

from probes.lenses.lens import Lens, stream_sites
from probes.lenses.method import Lesson, lens_methods
from workbench.models import Subject


@lens_methods.register("logit")
@dataclass(frozen=True)
class Logit:
    """Nothing is learned, so that there is nothing to fit and nothing to control."""

    @property
    def learns(self) -> bool:
        return False

    @property
    def options(self) -> dict[str, object]:
        return {}

    def fit(self, subject: Subject, lesson: Lesson | None = None) -> Lens:
        """The same for every model."""
        return Lens("logit", stream_sites(subject), subject.name, subject.digest)

    def control(self) -> None:
        return None
