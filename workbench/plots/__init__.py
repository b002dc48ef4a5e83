"""Arrays to Plotly figures. A figure knows numbers and labels, never a result's type."""

from workbench.plots.rates import rates_figure
from workbench.plots.tradeoff import tradeoff_figure

__all__ = ["rates_figure", "tradeoff_figure"]
