"""A figure that was written as JSON (`figure.to_json()`), read again."""

import plotly.graph_objects as go
from plotly.io import from_json


def read_figure(text: str) -> go.Figure:
    """The figure; its values are checked as when it was made."""
    found: go.Figure = from_json(text)
    return found
