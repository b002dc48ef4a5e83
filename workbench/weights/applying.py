"""Edit the weights of an open model, check the write side, and take it all back bit for bit.

A tied embedding is untied first: the same numbers also read the stream at its end, and an edit of what a token writes
is not one of what it scores. Every tensor that is changed is kept as it was until the edit is undone.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from workbench.errors import ModelError, RecipeError
from workbench.interventions import LinearMap, Recipe
from workbench.models import Subject, Writer, matrices
from workbench.weights.compiling import Compiled, compile_recipe
from workbench.weights.edit import WeightEdit
from workbench.weights.edits.orthogonalise import Orthogonalise

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def edited_tensor(tensor: Tensor, axis: int, change: LinearMap, edit: WeightEdit, added: Tensor | None) -> Tensor:
    """A writer's tensor after the edit, in its own dtype; `added` goes to what every column writes (an embedding's).

    Computed in float32 and rounded once. Raises ModelError where the tensor is quantised.
    """
    if tensor.dtype not in _FLOATS:
        raise ModelError(f"A matrix of {tensor.dtype} is quantised and cannot be edited; open the model unquantised.")
    new = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    for old, place in zip(matrices(tensor, axis), matrices(new, axis), strict=True):
        found = edit(old.float(), change)
        place.copy_(found if added is None else found + added.to(found)[:, None])
    return new


def edited_bias(bias: Tensor, change: LinearMap) -> Tensor:
    """A writer's bias after the edit."""
    return change(bias)


def write_side(tensor: Tensor, axis: int, change: LinearMap, added: Tensor | None) -> float:
    """What an edited tensor still writes along what it was cleared of, as a share of its columns' lengths (law 9)."""
    cleared = change.cleared().to(tensor.device)
    if not len(cleared):
        return 0.0
    worst = 0.0
    for matrix in matrices(tensor, axis):
        wide = matrix.float() if added is None else matrix.float() - added.to(tensor.device)[:, None]
        length = wide.norm(dim=0).clamp_min(1e-20)
        worst = max(worst, float(((cleared @ wide).abs() / length).max()))
    return worst


def allowed_left(dtype: torch.dtype) -> float:
    """What rounding alone may leave of a direction in a column, as a share of its length.

    Each number is rounded by at most half a unit in the last place, so that the error's length is at most that share of
    the column's, and what it has along a unit vector no more.
    """
    return max(torch.finfo(dtype).eps, 1e-5)


@dataclass
class Applied:
    """An edit that rests in a model's weights; `subject` is the edited model, `undo` puts back every bit."""

    subject: Subject
    compiled: Compiled
    left: Mapping[str, float]  # what each writer still writes of what was taken away, as a share
    _old: ExitStack = field(repr=False)

    def undo(self) -> None:
        """Put back every parameter as it was; done twice, it does nothing."""
        self._old.close()


def apply_weights(subject: Subject, recipe: Recipe | Compiled, edit: WeightEdit | None = None) -> Applied:
    """Write a recipe into the weights of an open model.

    Raises RecipeError where it does not compile or a writer has no bias to add with; ModelError where the write side
    is not clear afterwards. Nothing is changed then.
    """
    compiled = recipe if isinstance(recipe, Compiled) else compile_recipe(subject, recipe)
    how = edit or Orthogonalise()
    require_homes(subject, compiled)
    changed = replace(subject, name=f"{subject.name} (edited)", digest=f"{subject.digest}+{compiled.digest[:16]}")
    with subject.lock, torch.no_grad(), ExitStack() as old:
        left = {str(w): _apply(subject, w, how.mapped(m), how, old) for w, m in compiled.maps.items()}
        return Applied(changed, compiled, left, old.pop_all())  # what failed before is undone on the way out


@contextmanager
def edited(subject: Subject, recipe: Recipe | Compiled, edit: WeightEdit | None = None) -> Iterator[Subject]:
    """The same for the duration of a block, which holds the Subject's lock; yields the edited model."""
    with subject.lock:
        applied = apply_weights(subject, recipe, edit)
        try:
            yield applied.subject
        finally:
            applied.undo()


def require_homes(subject: Subject, compiled: Compiled) -> None:
    """Raise RecipeError where something is to be added by a matrix without a bias."""
    if unhoused := compiled.unhoused:
        raise RecipeError(
            f"{unhoused[0]} of {subject.name} has no bias, so that its weights cannot add a vector; export an adapter "
            "(lora) or a control vector (gguf), or leave the addition a hook."
        )


def _apply(subject: Subject, writer: Writer, change: LinearMap, how: WeightEdit, old: ExitStack) -> float:
    """Edit one writer; returns what is left on its write side."""
    module, matrix, axis = writer.module(subject), writer.matrix(subject), writer.live_axis(subject)
    name = next(name for name, parameter in module.named_parameters(recurse=False) if parameter is matrix)
    added = embedded_shift(writer, change)
    new = nn.Parameter(edited_tensor(matrix.detach(), axis, change, how, added), matrix.requires_grad)
    _replace(old, module, name, new)
    bias = getattr(module, "bias", None)
    if isinstance(bias, nn.Parameter):
        _replace(old, module, "bias", nn.Parameter(edited_bias(bias.detach(), change), bias.requires_grad))
    left = write_side(new.detach(), axis, change, added) if how.clears else 0.0
    if left > allowed_left(matrix.dtype):
        raise ModelError(
            f"After the edit {writer} of {subject.name} still writes {left:.2g} of what was taken away (rounding "
            f"explains {allowed_left(matrix.dtype):.2g}); the model is as it was."
        )
    return left


def embedded_shift(writer: Writer, change: LinearMap) -> Tensor | None:
    """What is added to every token's embedding."""
    return change.shift if writer.component == "embed" and change.shifts else None


def _replace(old: ExitStack, module: nn.Module, name: str, new: nn.Parameter) -> None:
    """Another parameter in the place of one, which `old` puts back; whoever is tied to it keeps it."""
    old.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, new)
