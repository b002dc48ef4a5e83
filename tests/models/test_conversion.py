"""Catalog sources: nothing is parsed before its checksum is right, and nothing is left half-made."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workbench.errors import ModelError, RunError
from workbench.models import conversion
from workbench.models.catalog import Wheels, catalog
from workbench.models.conversion import converted, converted_from_parts


def _parts(folder: Path, pieces: list[bytes]) -> tuple[list[Path], str]:
    paths = []
    for number, piece in enumerate(pieces):
        paths.append(folder / f"part{number}")
        paths[-1].write_bytes(piece)
    return paths, hashlib.sha256(b"".join(pieces)).hexdigest()


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was handed to the converter, which only writes down that it was there."""
    handed: list[bytes] = []

    def note_it(gguf: Path, draft: Path, dtype: str) -> None:
        handed.append(gguf.read_bytes())
        draft.mkdir()
        (draft / "config.json").write_text("{}")

    monkeypatch.setattr(conversion, "_convert", note_it)
    return handed


def _left(tmp_path: Path) -> list[str]:
    files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.suffix != ".lock")


def test_parts_are_joined_in_order_once_and_the_copy_is_removed(tmp_path: Path, convert: list[bytes]) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second", b"third"])
    folder = converted_from_parts(parts, digest, 15, "float32")
    assert converted_from_parts(parts, digest, 15, "float32") == folder
    assert converted_from_parts(parts, digest, 15, "bfloat16") != folder
    assert convert == [b"GGUFsecondthird"] * 2
    assert _left(tmp_path) == ["config.json", "config.json"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, convert: list[bytes]) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF"])
    name = f".{digest[:24]}-float32-v1"
    for scrap in (f"{name}.parts", f"{name}.x1y2", f"{name}.x1y2/deep"):
        (tmp_path / "cache" / "models" / scrap).mkdir(parents=True)
        (tmp_path / "cache" / "models" / scrap / "half").write_bytes(b"half")
    converted_from_parts(parts, digest, 4, "float32")
    assert _left(tmp_path) == ["config.json"]


def test_two_at_once_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second"])
    entered: list[int] = []

    def slow(gguf: Path, draft: Path, dtype: str) -> None:
        entered.append(1)
        time.sleep(0.3)
        assert gguf.read_bytes() == b"GGUFsecond"
        draft.mkdir()
        (draft / "config.json").write_text("{}")

    monkeypatch.setattr(conversion, "_convert", slow)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: converted_from_parts(parts, digest, 10, "float32"), range(2)))
    assert made[0] == made[1]
    assert entered == [1]


def test_a_checksum_that_differs_is_an_error_before_a_byte_is_parsed(tmp_path: Path, convert: list[bytes]) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second"])
    parts[1].write_bytes(b"secomd")
    with pytest.raises(ModelError, match="not the pinned ones"):
        converted_from_parts(parts, digest, 10, "float32")
    assert convert == []
    assert _left(tmp_path) == []


def test_a_missing_part_is_an_error(tmp_path: Path, convert: list[bytes]) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second"])
    parts[1].unlink()
    with pytest.raises(ModelError, match="install it again"):
        converted_from_parts(parts, digest, 10, "float32")
    assert convert == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, convert: list[bytes]) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF"])
    with pytest.raises(RunError, match=r"needs .* GB .* are free"):
        converted_from_parts(parts, digest, 1 << 60, "float32")
    assert (convert, _left(tmp_path)) == ([], [])


def test_a_file_that_only_begins_like_a_gguf_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 60)
    with pytest.raises(ModelError, match="could not be read as a GGUF model"):
        converted(file, "0" * 64, "float32")
    assert not list((tmp_path / "cache" / "models").glob("0*"))


def test_every_source_of_the_catalog_is_pinned() -> None:
    for entry in catalog().values():
        assert len(entry.revision) == 40
        assert isinstance(entry.wheels, Wheels)
        assert len(entry.wheels.sha256) == 64
