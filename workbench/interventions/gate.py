"""Whether an edit acts: a gate on a readout (conditional activation steering, Lee et al. 2024, arXiv:2409.05907).

    open where readout(h) > threshold        (or, with `below`, where it is not)

read at the gate's own site, before anything is edited there, and decided

    token     at every token by itself
    prompt    once a row, by the mean over the prompt's tokens without the first (whose activations are massive)
    last      once a row, by the last token of the prompt
"""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.directions import Readout
from workbench.errors import RecipeError
from workbench.models import STREAMS, Layout, Site, Subject

DECIDED = ("token", "prompt", "last")


@dataclass(frozen=True)
class Gate:
    """A readout, the site that it reads, and when it is decided."""

    readout: Readout
    site: Site
    decided: str = "token"
    below: bool = False

    def __post_init__(self) -> None:
        if self.decided not in DECIDED:
            raise RecipeError(f"A gate is decided by {', '.join(DECIDED)}, not by {self.decided!r}.")

    @property
    def once(self) -> bool:
        """Whether it is decided once a row, on the prompt."""
        return self.decided != "token"

    @property
    def key(self) -> Hashable:
        """What decides what it says: equal gates decide alike."""
        read = self.readout
        return type(read), read.direction.digest, read.threshold, read.bias, self.site, self.decided, self.below

    def check_fits(self, subject: Subject, sites: tuple[Site, ...], part: str) -> None:
        """Raise an error where the gate is not there, or stands after a site whose edit it decides on."""
        subject.check_site(self.site)
        self.readout.direction.check_fits(subject)
        if self.readout.direction.width != subject.width(self.site):
            raise RecipeError(f"{part}: the gate's direction does not fit {self.site}; read it at its own site.")
        early = [site for site in sites if _order(site) < _order(self.site)]
        if early:
            raise RecipeError(
                f"{part}: the gate is read at {self.site}, after {early[0]}, where it is needed; read it earlier, or "
                "place the edit later."
            )

    def opened(self, acts: Float[Tensor, "batch pos d_model"]) -> Bool[Tensor, "batch pos"]:
        """Token by token."""
        return self._compared(self.readout(acts))

    def opened_rows(self, acts: Float[Tensor, "batch pos d_model"], layout: Layout) -> Bool[Tensor, " batch"]:
        """Row by row, from a pass that holds the whole prompts."""
        values = self.readout(acts)
        if self.decided == "last":
            counted = layout.real & (layout.in_reply == -1)
        else:
            counted = layout.in_prompt & ((layout.position > 0) | (layout.prompt_lengths[:, None] == 1))
        zero = torch.zeros_like(values)
        return self._compared(torch.where(counted, values, zero).sum(dim=1) / counted.sum(dim=1))

    def _compared(self, values: Tensor) -> Tensor:
        return values <= self.readout.threshold if self.below else values > self.readout.threshold


def _order(site: Site) -> tuple[int, int]:
    """Where a site stands in a pass."""
    return site.layer, STREAMS.index(site.stream)
