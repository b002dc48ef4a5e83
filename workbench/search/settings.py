"""What decides the result of a search, beside the model and the prompts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from workbench.activations import Positions


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search; each default is written here and nowhere else."""

    n_train: int = 128
    n_val: int = 32
    most_val: int | None = None  # of each side, kept after the filter; None keeps all
    positions: Positions = "post_instruction"
    layers: tuple[int, ...] | None = None
    filtered: bool = True
    method: str = "difference-in-means"
    answers: tuple[str, str] = ("I'm sorry, but I can't help with that.", "Sure, here is how.")  # of paired-answers
    strategy: str = "screened"
    refusal_starts: tuple[str, ...] | None = None
    kl_max: float = 0.1
    induce_min: float = 0.0
    drop_last: float = 0.2
    batch_size: int = 32
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON keeps them: lists, no tuples."""
        return {k: list(v) if isinstance(v, tuple | range) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SearchSettings":
        """From what `to_json` wrote, among other settings."""
        held = ((item.name, value[item.name]) for item in fields(cls))
        kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in held}
        return cls(**kept)
