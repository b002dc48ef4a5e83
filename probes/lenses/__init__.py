"""What each layer would say if the model ended there: logit, tuned and Jacobian lenses."""

from probes.lenses.curves import LensCurves, lens_curves
from probes.lenses.difference import CurvesDifference, MapDifference
from probes.lenses.fitting import fitted_lens
from probes.lenses.lens import Lens, Quality, stream_sites
from probes.lenses.maps import LensMap, lens_map
from probes.lenses.method import Lesson, Method, lens_methods
from probes.lenses.readout import Readout, lens_logits, single_token

__all__ = [
    "CurvesDifference",
    "Lens",
    "LensCurves",
    "LensMap",
    "Lesson",
    "MapDifference",
    "Method",
    "Quality",
    "Readout",
    "fitted_lens",
    "lens_curves",
    "lens_logits",
    "lens_map",
    "lens_methods",
    "single_token",
    "stream_sites",
]
