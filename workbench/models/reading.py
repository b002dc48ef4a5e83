"""What transformers and safetensors raise on a folder that is no model, or a broken one, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import ModelError

_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, AttributeError, TypeError, ArithmeticError)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """ModelError where what is read in the block cannot be read."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ModelError(
            f"A safetensors file in {folder} is truncated or damaged ({error}); fetch it again."
        ) from error
    except (*_UNREADABLE, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[0][:240] if str(error).strip() else type(error).__name__
        raise ModelError(f"The model in {folder} could not be read: {reason}") from error
