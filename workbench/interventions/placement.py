"""Where and when an edit acts.

Sites are written as

    all            everything that writes to the stream: every block input, attention output and MLP output
    12             the input of block 12            8-15        the inputs of blocks 8 to 15
    12.attn_out    one named place                  mlp_out     that stream in every block

tokens as in `tokens`; a `gate` says whether it acts, a `schedule` how strongly over the tokens of the reply.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.directions import Asset
from workbench.errors import DirectionError, RecipeError
from workbench.interventions.edit import Edit, SiteSpec
from workbench.interventions.gate import Gate
from workbench.interventions.schedule import Schedule
from workbench.interventions.tokens import Tokens
from workbench.models import STREAMS, WRITERS, Site, Subject


@dataclass(frozen=True)
class Placement:
    """An edit at `sites`, on `tokens`, where the `gate` is open, as strongly as the `schedule` says."""

    edit: Edit
    sites: tuple[str, ...]
    tokens: str = "all"
    gate: Gate | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if not self.sites:
            raise RecipeError("A placement needs at least one site; write all, a layer, or LAYER.STREAM.")
        for spec in self.sites:
            _check_spec(spec)
        Tokens(self.tokens)

    @classmethod
    def of(cls, edit: Edit, sites: SiteSpec, tokens: str = "all", **when: Any) -> "Placement":
        """A placement from a site, a layer number, a written form, or a sequence of these."""
        listed = list(sites) if isinstance(sites, list | tuple) else [sites]
        return cls(edit, tuple(str(item) for item in listed), tokens, **when)

    def __str__(self) -> str:
        from workbench.interventions.writing import written

        return written(self)

    @property
    def scope(self) -> Tokens:
        return Tokens(self.tokens)

    @property
    def assets(self) -> tuple[Asset, ...]:
        """What the edit holds, and what the gate reads."""
        return self.edit.assets if self.gate is None else (*self.edit.assets, self.gate.readout.direction)

    @property
    def needs_whole_rows(self) -> bool:
        """Whether a pass that begins in the middle of a row, or holds the beginning of several, would mislead it."""
        return self.scope.from_the_end or (self.gate is not None and self.gate.once)

    @property
    def acts_on_prompt(self) -> bool:
        """Whether it may change, or must see, what the model makes of the prompt."""
        return self.scope.in_prompt or (self.gate is not None and self.gate.once)

    def resolve(self, subject: Subject) -> tuple[Site, ...]:
        """The places meant in this model; RecipeError where one is not there."""
        for spec in self.sites:
            last = max(map(int, re.findall(r"\d+", spec)), default=0)
            if last >= subject.n_layers:
                raise RecipeError(f"{self}: no layer {last} in {subject.name}; it has layers 0-{subject.n_layers - 1}.")
        return tuple(dict.fromkeys(site for spec in self.sites for site in _sites(spec, subject.n_layers)))

    def check_fits(self, subject: Subject) -> None:
        """Raise RecipeError or DirectionError where it cannot be applied to `subject`."""
        sites = self.resolve(subject)
        for asset in self.edit.assets:
            try:
                asset.check_fits(subject)
            except DirectionError as error:
                raise DirectionError(f"{self}: {error}") from None
            _check_heads(self, asset, sites)
        if self.gate is not None:
            self.gate.check_fits(subject, sites, str(self))


def _check_heads(placement: Placement, asset: Asset, sites: Sequence[Site]) -> None:
    """The heads' outputs and the stream are different spaces, even where they are equally wide."""
    wrong = [site for site in sites if (site.stream == "attn_heads") != (asset.site.stream == "attn_heads")]
    if wrong and asset.site.stream == "attn_heads":
        raise RecipeError(f"{placement}: what it holds is of the heads' outputs; place it on attn_heads.")
    if wrong:
        raise RecipeError(f"{placement}: what it holds is of the stream, not of the heads; place it on attn_out.")


def _check_spec(spec: str) -> None:
    if spec == "all" or spec in STREAMS or re.fullmatch(r"\d{1,9}(-\d{1,9})?", spec):
        return
    if found := re.fullmatch(r"\d{1,9}\.([a-z_]+)", spec):
        if found[1] in STREAMS:
            return
        raise RecipeError(f"There is no stream {found[1]!r} in the site {spec!r}; there are: {', '.join(STREAMS)}.")
    raise RecipeError(f"{spec!r} is not a site; write all, a layer (12), layers (8-15), or LAYER.STREAM.")


def _sites(spec: str, n_layers: int) -> list[Site]:
    layers = range(n_layers)
    if spec == "all":
        return [Site(layer, stream) for layer in layers for stream in WRITERS]
    if spec == "embed":
        return [Site(0, "embed")]
    if spec in STREAMS:
        return [Site(layer, spec) for layer in layers]
    if "." in spec:
        return [Site.parse(spec)]
    first, _, last = spec.partition("-")
    if int(last or first) < int(first):
        raise RecipeError(f"The layers {spec} run backwards; write the smaller one first.")
    return [Site(layer, "resid_pre") for layer in range(int(first), int(last or first) + 1)]
