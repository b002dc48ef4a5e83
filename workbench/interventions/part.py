"""One placement on its way through a request: which tokens it edits, and what its gate has decided.

    mask = scope & gate & (schedule != 0)

A gate that is decided once, on the prompt, is remembered here for each row of the request from pass to pass.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.gate import Gate
from workbench.interventions.placement import Placement
from workbench.models import Layout

Decided = dict[Hashable, dict[int, bool]]  # by gates on the prompt, for each row of the request


@dataclass
class Part:
    """One placement, for all rows of the request or for some, and what its gate has decided."""

    placement: Placement
    rows: tuple[int, ...] | None
    special: Tensor
    asked: int = 0  # tokens in scope, and those of them on which the gate was open
    opened: int = 0
    _now: Bool[Tensor, "batch pos"] | None = None  # the gate at every token of the running pass
    _once: dict[int, bool] = field(default_factory=dict)  # the gate of each row, where it is decided on the prompt

    def goes_on(self, old: "Part") -> None:
        """Count on from the same placement, where recipes change in the middle of a reply."""
        self.asked, self.opened = self.asked + old.asked, self.opened + old.opened

    def recall(self, decided: Decided) -> None:
        """Take over what the same gate decided on the prompt, whichever edit it was of."""
        if self.placement.gate is None:
            return
        known = decided.get(self.placement.gate.key, {})
        self._once |= {row: opened for row, opened in known.items() if self.rows is None or row in self.rows}

    def remember(self, decided: Decided) -> None:
        """Add what the gate decided on the prompt."""
        if self.placement.gate is not None:
            decided.setdefault(self.placement.gate.key, {}).update(self._once)

    def decide(self, gate: Gate, acts: Tensor, rows: list[int] | None, layout: Layout | None) -> None:
        """Let the gate read, at its own site, this part's rows of the request."""
        if not gate.once or layout is None:
            self._now = gate.opened(acts)
            return
        if bool((layout.in_reply == -1).any(dim=1).all()):  # else the prompt was read in an earlier pass
            found = gate.opened_rows(acts, layout).tolist()
            self._once |= dict(zip(range(len(found)) if rows is None else rows, found, strict=True))

    def apply(
        self, acts: Float[Tensor, "batch pos d_model"], rows: list[int] | None, layout: Layout | None
    ) -> Float[Tensor, "batch pos d_model"]:
        """The edited activations of this part's rows."""
        placement = self.placement
        mask, shares = self._mask(acts, layout, rows), None
        if placement.schedule is not None and layout is not None:
            shares = placement.schedule.shares(layout)[..., None]
            mask = shares[..., 0] != 0 if mask is None else mask & (shares[..., 0] != 0)
        edited = placement.edit(acts) if shares is None else placement.edit.partly(acts, shares.to(acts.device))
        return edited if mask is None else torch.where(mask[..., None].to(acts.device), edited, acts)

    @property
    def needs_layout(self) -> bool:
        gate = self.placement.gate
        counts = gate is not None and gate.once
        return not self.placement.scope.everything or self.placement.schedule is not None or counts

    def _mask(self, acts: Tensor, layout: Layout | None, rows: list[int] | None) -> Bool[Tensor, "batch pos"] | None:
        scope = self.placement.scope
        mask = None if layout is None or scope.everything else scope.mask(layout, self.special)
        if self.placement.gate is None:
            return mask
        opened = self._open(self.placement.gate, rows, len(acts))
        within = opened if mask is None else mask & opened
        self.asked += acts.shape[0] * acts.shape[1] if mask is None else int(mask.sum())
        self.opened += int(within.expand(acts.shape[:2]).sum())
        return within

    def _open(self, gate: Gate, rows: list[int] | None, batch: int) -> Tensor:
        if not gate.once and self._now is not None:
            return self._now
        wanted = list(range(batch)) if rows is None else rows
        if not all(row in self._once for row in wanted):
            raise never_decided(self.placement)
        return torch.tensor([[self._once[row]] for row in wanted], device=self.special.device)

    def undecided(self, rows: Sequence[int]) -> bool:
        """Whether the gate is decided on a prompt that was read without it, for one of these rows."""
        gate = self.placement.gate
        mine = rows if self.rows is None else [row for row in rows if row in self.rows]
        if self.placement.edit.is_identity:
            return False
        return gate is not None and gate.once and not all(row in self._once for row in mine)


def never_decided(placement: Placement) -> RecipeError:
    """The error of a gate that would have to be decided on a prompt that was read without it."""
    return RecipeError(
        f"{placement}: its gate is decided on the prompt, which was read before the recipe was there; let it be "
        "decided by token, or begin again."
    )
