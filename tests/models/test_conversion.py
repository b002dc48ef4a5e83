"""Catalog sources: nothing is parsed before its checksum is right, and nothing is left half-made."""

import hashlib
from pathlib import Path

import pytest

from workbench.errors import ModelError, RunError
from workbench.models import conversion
from workbench.models.catalog import Wheels, catalog
from workbench.models.conversion import converted, joined


def _parts(folder: Path, pieces: list[bytes]) -> tuple[list[Path], str]:
    paths = []
    for number, piece in enumerate(pieces):
        paths.append(folder / f"part{number}")
        paths[-1].write_bytes(piece)
    return paths, hashlib.sha256(b"".join(pieces)).hexdigest()


def test_parts_are_joined_in_order_and_the_copy_is_removed(tmp_path: Path) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second", b"third"])
    with joined(parts, digest, 15, "float32") as whole:
        assert whole.read_bytes() == b"GGUFsecondthird"
    assert not whole.exists()


def test_a_checksum_that_differs_is_an_error_before_a_byte_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second"])
    parts[1].write_bytes(b"secomd")
    monkeypatch.setattr(conversion, "_convert", lambda *a: pytest.fail("was parsed"))
    with pytest.raises(ModelError, match="not the pinned ones"), joined(parts, digest, 10, "float32") as whole:
        converted(whole, digest, "float32")
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


def test_a_missing_part_is_an_error(tmp_path: Path) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF", b"second"])
    parts[1].unlink()
    with pytest.raises(ModelError, match="install it again"), joined(parts, digest, 10, "float32"):
        pass


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    parts, digest = _parts(tmp_path, [b"GGUF"])
    with pytest.raises(RunError, match=r"needs .* GB .* are free"), joined(parts, digest, 1 << 60, "float32"):
        pass


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
