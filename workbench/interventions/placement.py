"""Where and when an edit acts.

Sites are written as

    all            everything that writes to the stream: every block input, attention output and MLP output
    12             the input of block 12            8-15        the inputs of blocks 8 to 15
    12.attn_out    one named place                  mlp_out     that stream in every block

and tokens as

    all        every token                          generated   the reply, not the prompt
    prompt     the prompt, not the reply            last        the last token of the prompt
    3:10       the tokens 3 to 9 of each row, counted from its own first token
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, SiteSpec
from workbench.models import STREAMS, WRITERS, Layout, Site, Subject

SCOPES = ("all", "prompt", "last", "generated")
_WINDOW = re.compile(r"(\d{1,9}):(\d{1,9})")


@dataclass(frozen=True)
class Placement:
    """An edit at `sites`, on `tokens`."""

    edit: Edit
    sites: tuple[str, ...]
    tokens: str = "all"

    def __post_init__(self) -> None:
        if not self.sites:
            raise RecipeError("A placement needs at least one site; write all, a layer, or LAYER.STREAM.")
        for spec in self.sites:
            _check_spec(spec)
        if self.tokens not in SCOPES and _WINDOW.fullmatch(self.tokens) is None:
            # The digits are bounded, so that no number overflows a tensor.
            raise RecipeError(f"There is no token scope {self.tokens!r}; use {', '.join(SCOPES)} or FROM:TO.")

    @classmethod
    def of(cls, edit: Edit, sites: SiteSpec, tokens: str = "all") -> "Placement":
        """A placement from a site, a layer number, a written form, or a sequence of these."""
        listed: Sequence[str | int | Site] = [sites] if isinstance(sites, str | int | Site) else sites
        return cls(edit, tuple(str(item) for item in listed), tokens)

    def __str__(self) -> str:
        name = type(self.edit).__name__.lower()
        numbers = ", ".join(f"{c.name}={getattr(self.edit, c.name):g}" for c in self.edit.controls())
        scope = "" if self.tokens == "all" else f" [{self.tokens}]"
        return f"{name}({numbers}) @ {','.join(self.sites)}{scope}"

    def resolve(self, subject: Subject) -> tuple[Site, ...]:
        """The places meant in this model; RecipeError where one is not there."""
        for spec in self.sites:
            last = max(map(int, re.findall(r"\d+", spec)), default=0)
            if last >= subject.n_layers:
                raise RecipeError(f"{self}: no layer {last} in {subject.name}; it has layers 0-{subject.n_layers - 1}.")
        return tuple(dict.fromkeys(site for spec in self.sites for site in _sites(spec, subject.n_layers)))

    def mask(self, layout: Layout) -> Bool[Tensor, "batch pos"] | None:
        """Which tokens of the running pass are edited; None where all are."""
        if self.tokens == "all":
            return None
        if self.tokens == "prompt":
            return layout.in_prompt
        if self.tokens == "generated":
            return layout.generated
        if self.tokens == "last":
            return layout.real & (layout.position == layout.prompt_lengths[:, None] - 1)
        start, stop = (int(number) for number in self.tokens.split(":"))
        return layout.real & (layout.position >= start) & (layout.position < stop)


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
