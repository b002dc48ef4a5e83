"""Arrays to Plotly figures. A figure knows numbers and labels, never a result's type."""

from plotly.graph_objects import Figure

from workbench.plots.audit import audit_figure
from workbench.plots.curves import curves_figure
from workbench.plots.forest import forest_figure
from workbench.plots.identifiability import identifiability_figure
from workbench.plots.points import points_figure
from workbench.plots.rates import rates_figure
from workbench.plots.tokens import tokens_figure
from workbench.plots.tradeoff import tradeoff_figure

__all__ = [
    "Figure",
    "audit_figure",
    "curves_figure",
    "forest_figure",
    "identifiability_figure",
    "points_figure",
    "rates_figure",
    "tokens_figure",
    "tradeoff_figure",
]
