"""What the model thought: the residual stream at chosen places, kept, streamed and stored."""

from workbench.activations.activations import Activations, Moments
from workbench.activations.capturing import Positions, capture, capture_moments, read_streams
from workbench.activations.store import ActivationStore

__all__ = ["ActivationStore", "Activations", "Moments", "Positions", "capture", "capture_moments", "read_streams"]
