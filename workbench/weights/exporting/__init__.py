"""How an export is made: drafted beside its place, certified, described, put there whole, and pushed if asked."""

from workbench.weights.exporting.exporting import Exported, export_model

__all__ = ["Exported", "export_model"]
