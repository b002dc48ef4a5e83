"""Concepts by example: a name, a description, texts that show it, and texts that only look as if they did.

A set is a folder of TOML files, one a concept, one such file, or a .jsonl file with a row for each text (`text`,
`concept`, `label`: true or false). Labels are per text, a chunk, and say nothing of the other concepts. Every text
lands in one part alone, also where two concepts share it; near-duplicates, and what stands side by side in the two
lists, stay together.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import ConceptError, first_fault
from workbench.prompts import split_rows
from workbench.runs import digest_json, note

FEWEST = 2  # texts on either side, below which a concept cannot be split and is left out
FEW = 10  # below which its figures say little
_BUILTIN = Path(__file__).with_name("data")
Part = Literal["train", "val", "test"]


class Concept(BaseModel):
    """What a concept means, by name, description and examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][\w .-]{0,59}$")
    description: str = ""
    positive: tuple[str, ...]
    near_miss: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """Texts of a part, and for each the concepts that it is labelled with: 1 shown, 0 not shown, nan unknown."""

    texts: tuple[str, ...]
    labels: np.ndarray  # [text concept]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class ConceptSet:
    """Named concepts; their order is that of a bottleneck's known part."""

    name: str
    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        names = [concept.name for concept in self.concepts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConceptError(f"The concept {twice[0]} is named twice in {self.name}; give each its own name.")
        if not names:
            raise ConceptError(f"{self.name} has no concept that can be learned; give texts that show one and others.")

    def __len__(self) -> int:
        return len(self.concepts)

    def __repr__(self) -> str:
        return f"ConceptSet({self.name}, {len(self)} concepts, {len(self._rows[0])} texts)"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(concept.name for concept in self.concepts)

    @cached_property
    def digest(self) -> str:
        return digest_json([concept.model_dump() for concept in self.concepts])

    def part(self, part: Part) -> Labelled:
        """The texts of one part."""
        texts, labels = self._rows
        rows = self._parts[part]
        return Labelled(tuple(texts[row] for row in rows), labels[rows])

    @cached_property
    def _rows(self) -> tuple[list[str], np.ndarray]:
        """Every text once, with what each concept says of it. Raises ConceptError where one says both."""
        numbers: dict[str, int] = {}
        said: list[tuple[int, int, float]] = []
        for column, concept in enumerate(self.concepts):
            for label, texts in ((1.0, concept.positive), (0.0, concept.near_miss)):
                said.extend((numbers.setdefault(text, len(numbers)), column, label) for text in texts)
        labels = np.full((len(numbers), len(self)), np.nan, dtype=np.float32)
        for row, column, label in said:
            if not np.isnan(labels[row, column]) and labels[row, column] != label:
                text = list(numbers)[row][:60]
                raise ConceptError(f"{self.concepts[column].name}: {text!r} is given as shown and as not shown.")
            labels[row, column] = label
        return list(numbers), labels

    @cached_property
    def _parts(self) -> dict[str, list[int]]:
        """Rows of each part. A concept's first text and its first near miss go together, for they may be twins."""
        numbers = {text: row for row, text in enumerate(self._rows[0])}
        pairs = [(c.name, pair) for c in self.concepts for pair in _pairs(c.positive, c.near_miss)]
        parts = split_rows([pair for _, pair in pairs], [name for name, _ in pairs])
        part_of: dict[int, str] = {}
        for part, found in parts.items():
            for row in found:
                for text in pairs[row][1]:
                    part_of.setdefault(numbers[text], part)
        return {part: sorted(row for row, its in part_of.items() if its == part) for part in parts}


def builtin_concepts(names: Sequence[str] | None = None) -> ConceptSet:
    """The built-in concepts, or those of them that are named."""
    found = load_concepts(_BUILTIN, "built-in")
    return found if names is None else chosen(found, names)


def chosen(concepts: ConceptSet, names: Sequence[str]) -> ConceptSet:
    """Some of a set's concepts. Raises ConceptError where one is not there."""
    by_name = {concept.name: concept for concept in concepts.concepts}
    if lacking := [name for name in names if name not in by_name]:
        raise ConceptError(f"There is no concept {lacking[0]!r} in {concepts.name}; it has: {', '.join(by_name)}.")
    return ConceptSet(concepts.name, tuple(by_name[name] for name in names))


def load_concepts(path: Path, name: str | None = None) -> ConceptSet:
    """Read a set. A concept that cannot be learned is left out, with a warning that says which and why.

    Raises ConceptError where a file is not a concept file, or nothing is left.
    """
    read = _labelled_rows(path) if path.suffix == ".jsonl" else [_concept(file) for file in _files(path)]
    return ConceptSet(name or path.stem, tuple(concept for concept in read if _learnable(concept)))


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path] if path.suffix == ".toml" else []
    if not files or not all(file.is_file() for file in files):
        raise ConceptError(f"{path} is no concept set; give a folder of .toml files, one .toml file, or a .jsonl file.")
    return files


def _concept(file: Path) -> Concept:
    try:
        value = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConceptError(f"{file} cannot be read ({error}); write it as TOML.") from error
    return _validated(value, str(file))


def _labelled_rows(path: Path) -> list[Concept]:
    """Concepts of a labelled corpus, in the order in which they first come."""
    found: dict[str, dict[str, list[str]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        for row in rows:
            sides = found.setdefault(str(row["concept"]), {"positive": [], "near_miss": []})
            sides["positive" if _truth(row["label"]) else "near_miss"].append(str(row["text"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConceptError(
            f"{path} is no labelled corpus ({error}); each line is an object with text, concept and label."
        ) from error
    return [_validated({"name": name, **sides}, str(path)) for name, sides in found.items()]


def _truth(value: Any) -> bool:
    if value not in (True, False, 0, 1):
        raise ValueError(f"label {value!r} is neither true nor false")
    return bool(value)


def _validated(value: Mapping[str, Any], where: str) -> Concept:
    try:
        return Concept.model_validate(value)
    except ValidationError as error:
        raise ConceptError(f"{where} is no concept ({first_fault(error)}); give name, positive, near_miss.") from error


def _learnable(concept: Concept) -> bool:
    """Whether it has texts to learn from and to test on; says so where it has few."""
    counts = {"texts that show it": len(set(concept.positive)), "near misses": len(set(concept.near_miss))}
    side, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < FEWEST:
        note(f"{concept.name} is left out: it has {fewest} {side}, and at least {FEWEST} are needed.")
        return False
    if fewest < FEW:
        note(f"{concept.name} has {fewest} {side}: what is said of it will be uncertain; {FEW} or more are better.")
    return True


def _pairs(shown: Sequence[str], other: Sequence[str]) -> list[tuple[str, str]]:
    """Text by text; what has no partner stands for both."""
    longest = zip_longest(shown, other)
    return [(one if one is not None else two, two if two is not None else one) for one, two in longest]
