"""The rack: interventions in rows, recipes in columns, and a switch where they meet.

What is chosen is kept as plain values; a recipe is their written form, which the engine reads: ablate(refusal) @ all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from workbench.interventions.edit import Edit

COLUMNS = ("A", "B", "C")
ROWS = 4
_EVERYWHERE = "all"
KEPT: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}


@dataclass(frozen=True)
class Slot:
    """One intervention, as it is set."""

    direction: str
    method: str
    sites: str
    strength: float
    tokens: str

    def __str__(self) -> str:
        times = "" if self.strength == 1.0 else f"{self.strength:g} * "
        scope = "" if self.tokens == "all" else f" [{self.tokens}]"
        name = self.direction if re.fullmatch(r"[\w.\-]+", self.direction) else f'"{self.direction}"'
        return f"{times}{self.method}({name}) @ {self.sites}{scope}"


def methods() -> list[str]:
    """Edits that need one direction and nothing else, from the registry, which imports torch."""
    from workbench.interventions.edit import edits

    return [name for name, edit in edits.items() if _of_one_direction(edit)]


def _of_one_direction(edit: "type[Edit]") -> bool:
    needed = [item.name for item in fields(edit) if item.default is MISSING]
    return needed == ["direction"]


def rack(names: Sequence[str], places: Mapping[str, str], n_rows: int, n_columns: int) -> dict[str, str]:
    """Draw the rack; the written recipe of each column. `places` gives, for each direction, where it was found."""
    slots: list[Slot] = []
    on: dict[tuple[int, str], bool] = {}
    for row in range(n_rows):
        slot, switches = _row(row, n_columns, names, places)
        slots.append(slot)
        on |= {(row, column): value for column, value in switches.items()}
    return {
        column: " + ".join(str(slot) for row, slot in enumerate(slots) if on[row, column])
        for column in COLUMNS[:n_columns]
    }


def _row(row: int, n_columns: int, names: Sequence[str], places: Mapping[str, str]) -> tuple[Slot, dict[str, bool]]:
    with st.container(border=True, horizontal=True, vertical_alignment="bottom"):  # wraps where it is narrow
        direction = st.selectbox("Direction", names, key=f"direction{row}", width=200, **KEPT) or ""
        method = st.selectbox("Method", methods(), key=f"method{row}", width=130, **KEPT)
        strength = st.slider("Strength", -2.0, 2.0, 1.0, 0.05, key=f"strength{row}", width=180, **KEPT)
        sites, tokens = _where(row, direction, method, places)
        switches = {
            column: st.toggle(column, row == number, key=f"on{row}{column}", help=_SWITCH, **KEPT)
            for number, column in enumerate(COLUMNS[:n_columns])
        }
    return Slot(direction, method, sites, strength, tokens), switches


def _where(row: int, direction: str, method: str, places: Mapping[str, str]) -> tuple[str, str]:
    """Sites and tokens: everywhere for what removes, the direction's own place for what writes, unless said."""
    from workbench.interventions.tokens import SCOPES

    with st.popover("Where", icon=":material/place:"):
        usual = places.get(direction, _EVERYWHERE) if method.startswith("add") else _EVERYWHERE
        sites = st.text_input("Layers", "", key=f"sites{row}", placeholder=usual, help=_SITES, **KEPT)
        tokens = st.selectbox("Tokens", SCOPES, key=f"tokens{row}", accept_new_options=True, **KEPT)
    return (sites or "").strip() or usual, (tokens or "all").strip()


_SITES = "all, a layer (12), layers (8-15) or one place (12.attn_out). Empty: where the method usually acts."
_SWITCH = "Use this row in the recipe of this column: also while it talks, from the next token on."
