"""Mean ablation: what a place writes, replaced by what it writes on average (Wang et al. 2022, arXiv:2211.00593).

    h' = h + strength (mean - h)

All that the place says of this prompt is gone, and what it says of every prompt stays, which zero ablation takes too.
"""

from dataclasses import dataclass

from workbench.interventions.edit import edits
from workbench.interventions.edits.replace import Replace


@edits.register("mean-ablate")
@dataclass(frozen=True)
class MeanAblate(Replace):
    """Put `stored`, the mean over a reference set, in the place of the activation."""
