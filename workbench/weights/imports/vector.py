"""Vectors that others keep, as directions: one vector, or one a layer.

    our own .safetensors        the direction, as it was found
    .safetensors                one tensor [d_model] or [layer d_model], or several [d_model] with a layer in each name
    .npy                        an array [d_model] or [layer d_model]; objects, which are pickles, are refused

A foreign file says neither where its vectors belong nor how long they ought to be. So the site is asked for, and the
vector is taken as long as it is, from 0: adding it once adds the vector. One row more than there are layers is taken as
transformers' hidden_states, of which row N is the input of block N.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.directions import Direction, kind_of
from workbench.errors import DirectionError
from workbench.models import STREAMS, Site, Subject
from workbench.weights.imports import Imported, Importer, as_direction, begins_with, importers

_NPY = b"\x93NUMPY"
_NUMBER = re.compile(r"(?<!\d)\d{1,6}(?!\d)")
_OWN = ("activation", "feature")
_METHOD = "imported"
# What numpy raises of a damaged header, which is a Python literal.
_UNREADABLE = (
    ValueError, TypeError, OSError, EOFError, SyntaxError, TokenError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
_Vectors = Mapping[int | None, Tensor]  # by layer; None where there is only one


@importers.register("vector")
@dataclass(frozen=True)
class VectorFile(Importer):
    """A safetensors file or a .npy array."""

    takes_site = True

    def recognises(self, source: Path) -> bool:
        head = begins_with(source, 9)
        return head.startswith(_NPY) or head[8:] == b"{"

    def read(self, subject: Subject, source: Path, site: str | None) -> Imported:
        kind = None if begins_with(source, 6) == _NPY else kind_of(source)
        if kind == "direction":
            return _own(subject, source, site)
        if kind in _OWN:
            raise DirectionError(f"{source} is the workbench's own {kind}, and no direction; name it in a --recipe.")
        vectors = _array(source) if begins_with(source, 6) == _NPY else _tensors(source)
        _check(subject, source, vectors)
        directions = tuple(_placed(subject, source, vectors, site))
        what = "a vector" if len(directions) == 1 else f"vectors of {len(directions)} layers"
        return Imported(what, directions=directions)


def _own(subject: Subject, source: Path, site: str | None) -> Imported:
    found = Direction.load(source)
    found.check_fits(subject)
    if site is not None and site != str(found.site):
        raise DirectionError(f"{source} is a direction at {found.site}, not at {site}; leave out --site.")
    return Imported(f"a direction of the workbench ({found.method})", directions=(found,))


def _placed(subject: Subject, source: Path, vectors: _Vectors, site: str | None) -> list[Direction]:
    """The vectors that `site` asks for: one at LAYER.STREAM, or each layer's at STREAM."""
    if site is None:
        raise DirectionError(f"{source} does not say where its vector belongs; give --site, such as 12.resid_pre.")
    if site in STREAMS and site != "embed":
        if None in vectors:
            raise DirectionError(f"{source} holds one vector; say of which layer it is, such as --site 12.{site}.")
        layers = [layer for layer in vectors if layer is not None and layer < subject.n_layers and vectors[layer].any()]
        if not layers:
            raise DirectionError(
                f"{source} holds nothing but zeros for the layers of {subject.name}; give another file."
            )
        return [_direction(subject, source, vectors, Site(layer, site)) for layer in layers]
    place = Site.parse("0.embed" if site == "embed" else site)
    subject.check_site(place)
    return [_direction(subject, source, vectors, place)]


def _direction(subject: Subject, source: Path, vectors: _Vectors, site: Site) -> Direction:
    _require_rows(subject, source, vectors, site)
    values = vectors.get(site.layer, vectors.get(None))
    if values is None:
        raise DirectionError(f"{source} holds no vector of layer {site.layer}; it has {_listed(list(vectors))}.")
    if len(values) != (width := subject.width(site)):
        raise DirectionError(
            f"The vectors in {source} are {len(values)} wide and {subject.name} is {width} wide at {site}; they are "
            "another model's."
        )
    return as_direction(subject, values, site, _METHOD)


def _require_rows(subject: Subject, source: Path, vectors: _Vectors, site: Site) -> None:
    """A row more than layers is known of one stream alone."""
    if max(layer or 0 for layer in vectors) == subject.n_layers and site.stream != "resid_pre":
        raise DirectionError(
            f"{source} has one row more than {subject.name} has layers, as the hidden states have: row N is the input "
            f"of block N. Give --site N.resid_pre, not {site}."
        )


def _check(subject: Subject, source: Path, vectors: _Vectors) -> None:
    for layer, values in vectors.items():
        name = "its vector" if layer is None else f"its vector of layer {layer}"
        if not values.is_floating_point() or not bool(torch.isfinite(values.float()).all()):
            raise DirectionError(f"{source}: {name} is not of finite numbers.")
    if (deepest := max(layer or 0 for layer in vectors)) > subject.n_layers:
        raise DirectionError(
            f"{source} has a layer {deepest} and {subject.name} has layers 0-{subject.n_layers - 1}; it is another "
            "model's."
        )


def _tensors(source: Path) -> _Vectors:
    """The vectors of a safetensors file."""
    try:
        with safe_open(source, framework="pt") as tensors:
            found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DirectionError(f"{source} is not a safetensors file, or is damaged ({error}).") from error
    if len(found) == 1:
        return _rows(source, next(iter(found.values())))
    numbers = {name: _NUMBER.findall(name) for name in found}
    layers = {int(each[0]): found[name].squeeze() for name, each in numbers.items() if len(each) == 1}
    if not layers or len(layers) < len(found) or any(values.ndim != 1 for values in layers.values()):
        raise DirectionError(
            f"{source} holds {len(found)} tensors ({_listed(list(found))}), and not one vector, nor one for each layer "
            "with the layer in its name."
        )
    return dict(sorted(layers.items()))


def _array(source: Path) -> _Vectors:
    """The vectors of a .npy file, which is mapped: a header that promises more than there is allocates nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that are written in an old way
            values = np.load(source, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise DirectionError(f"{source} is not a .npy file of numbers, or is damaged ({error}).") from error
    if values.dtype.kind != "f":
        raise DirectionError(f"{source} is of {values.dtype}, and a vector is of floating-point numbers.")
    return _rows(source, torch.from_numpy(np.array(values, dtype=np.float64)))


def _rows(source: Path, values: Tensor) -> _Vectors:
    """One tensor as one vector, or as one a layer."""
    if values.ndim == 2 and len(values) > 1:
        return dict(enumerate(values))
    if values.ndim == 1 or (values.ndim == 2 and len(values) == 1):
        return {None: values.flatten()}
    raise DirectionError(
        f"{source} holds a tensor of shape {tuple(values.shape)}; [d_model] or [layer d_model] is read."
    )


def _listed(names: list[object]) -> str:
    return ", ".join(str(name) for name in names[:4]) + (", ..." if len(names) > 4 else "")
