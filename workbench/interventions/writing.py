"""The written form of a recipe, as `parsing` reads it.

ablate(refusal) @ all + 0.5 * add(formal) @ 12 [generated] ~ 0:1, 32:0 if cosine(harm) > 0.2 @ 8 on prompt
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from workbench.directions import Asset
from workbench.directions.readout import readouts
from workbench.interventions.edit import Edit, edits, number

if TYPE_CHECKING:
    from workbench.interventions.gate import Gate
    from workbench.interventions.placement import Placement

Naming = Callable[[Asset], str]


def by_digest(asset: Asset) -> str:
    """The first letters of the digest: a name for what has none."""
    return asset.digest[:8]


def written(placement: "Placement", name: Naming = by_digest) -> str:
    """One placement, with a name for each asset."""
    strength = getattr(placement.edit, "strength", 1.0)
    parts = [f"{number(strength)} * " if strength != 1.0 else "", _edit(placement.edit, name), " @ "]
    parts += [", ".join(placement.sites), "" if placement.tokens == "all" else f" [{placement.tokens}]"]
    parts += [f" ~ {placement.schedule}" if placement.schedule else ""]
    return "".join(parts) + (_gate(placement.gate, name) if placement.gate else "")


def _edit(edit: Edit, name: Naming) -> str:
    held: list[str] = []
    for item in fields(edit):
        value = getattr(edit, item.name)
        default = item.default if item.default is not MISSING else None
        if item.name != "strength" and value != default:
            held.extend(_argument(item.name, value, name))
    return f"{edits.name_of(edit)}({', '.join(held)})"


def _argument(key: str, value: Any, name: Naming) -> list[str]:
    if isinstance(value, tuple):
        return [part for each in value for part in _argument(key, each, name)]
    if isinstance(value, Edit):
        strength = getattr(value, "strength", 1.0)
        return [(f"{number(strength)} * " if strength != 1.0 else "") + _edit(value, name)]
    if isinstance(value, Asset):
        return [name(value)]
    return [f"{key}={str(value).lower() if isinstance(value, bool) else number(value)}"]


def _gate(gate: "Gate", name: Naming) -> str:
    sign = "<=" if gate.below else ">"
    bias = f", bias={number(gate.readout.bias)}" if gate.readout.bias else ""
    read = f"{readouts.name_of(gate.readout)}({name(gate.readout.direction)}{bias})"
    decided = "" if gate.decided == "token" else f" on {gate.decided}"
    return f" if {read} {sign} {number(gate.readout.threshold)} @ {gate.site}{decided}"
