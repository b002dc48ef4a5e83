"""What a browser uploads: read from memory, told by its content, and never by the name it came with.

Prompts come as JSON, JSON lines, CSV with a `prompt` column, or one a line; directions as safetensors. Whatever else
comes - a pickle, an archive, a picture, another encoding, too much - is answered with one sentence.
"""

import csv
import json
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from workbench.errors import DirectionError, PromptError, UsageError

if TYPE_CHECKING:
    from workbench.directions import Asset, Direction
    from workbench.prompts import Prompts

T = TypeVar("T")
LARGEST_MB = 1
MOST_PROMPTS = 2_000
MOST_CHARACTERS = 20_000  # of a prompt
PROMPT_TYPES = ("json", "jsonl", "csv", "txt")
DIRECTION_TYPES = ("safetensors",)
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # of an encoding


def prompts_of(content: bytes, name: str) -> "Prompts":
    """The prompts of an uploaded file, which is called `name` from here on."""
    from workbench.prompts.loading import parse_prompts

    _require_plain(content)
    return _few(parse_prompts(content, form_of(content), name))


def written_prompts(text: str, name: str) -> "Prompts":
    """Prompts that were written, one a line."""
    from workbench.prompts.loading import parse_prompts

    return _few(parse_prompts(text.encode("utf-8", "replace"), "txt", name))


def direction_of(content: bytes) -> "Direction":
    """The direction of an uploaded file. It imports torch, so that it is called in a job."""
    from workbench.directions import Direction

    return _loaded(content, Direction.load)


def asset_of(content: bytes) -> "Asset":
    """The direction, the probe, or whatever else of the registered kinds an uploaded file says it is; in a job."""
    from workbench.directions import load_asset

    return _loaded(content, load_asset)


def _loaded(content: bytes, read: Callable[[Path], T]) -> T:
    _require_plain(content, binary=True)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "direction.safetensors"
        path.write_bytes(content)
        try:
            return read(path)
        except UsageError as error:
            raise DirectionError(str(error).replace(str(path), "The uploaded file")) from None


def form_of(content: bytes) -> str:
    """How prompts are written: "json", "jsonl", "csv" or "txt"."""
    text = content.decode("utf-8-sig", "replace").lstrip()
    first = text.splitlines()[0] if text else ""
    if text.startswith("["):
        return "json"
    if text.startswith("{"):
        return "jsonl"
    if "prompt" in next(csv.reader([first[:MOST_CHARACTERS]]), []):
        return "csv"
    return "jsonl" if _is_json_text(first) else "txt"


def require_small(content: bytes) -> None:
    """Raise UsageError where a file is empty or too large, whatever the browser said of it."""
    if not content:
        raise UsageError("The uploaded file is empty; choose another.")
    if len(content) > LARGEST_MB << 20:
        raise UsageError(
            f"The uploaded file has {len(content) / (1 << 20):.1f} MB, and at most {LARGEST_MB} MB are taken; give "
            "fewer prompts, or use `workbench find`."
        )


def _require_plain(content: bytes, *, binary: bool = False) -> None:
    """Raise UsageError where it is too large, a pickle, an archive, or no text where text is wanted."""
    require_small(content)
    if _is_pickle(content):
        raise UsageError("The uploaded file is a pickle, which can run code when it is read, so it is not read at all.")
    if content.startswith(_ARCHIVES):
        raise UsageError("The uploaded file is an archive; unpack it, and upload what is in it.")
    if not binary and b"\0" in content and not content.startswith(_MARKS):
        raise UsageError("The uploaded file is binary; prompts come as JSON, JSON lines, CSV or text in UTF-8.")


def _is_pickle(content: bytes) -> bool:
    """Whether it is a pickle: by its mark, or (protocols 0 and 1 have none) by its codes, none of which is run."""
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if len(content) < 2 or not content.endswith(b"."):
        return False
    try:
        return [end for code, _, end in pickletools.genops(content) if code.name == "STOP"] == [len(content) - 1]
    except (ValueError, UnicodeError, OverflowError):
        return False


def _is_json_text(line: str) -> bool:
    try:
        return isinstance(json.loads(line), str)
    except (ValueError, RecursionError):
        return False


def _few(prompts: "Prompts") -> "Prompts":
    if len(prompts) > MOST_PROMPTS:
        raise PromptError(f"{prompts.name} has {len(prompts):,} prompts, and at most {MOST_PROMPTS:,} are taken here.")
    if long := _too_long([prompt.text for prompt in prompts]):
        raise PromptError(f"Prompt {long} of {prompts.name} is longer than {MOST_CHARACTERS:,} characters; shorten it.")
    return prompts


def _too_long(texts: Sequence[str]) -> int | None:
    return next((number for number, text in enumerate(texts, 1) if len(text) > MOST_CHARACTERS), None)
