"""What a prompt shows without being understood: its text, its length in tokens, the token that it begins with."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from workbench.models import Subject
from workbench.prompts import Prompts


@dataclass(frozen=True, eq=False)
class Surface:
    """One text, length and first token for each prompt."""

    texts: np.ndarray
    lengths: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, subject: Subject, prompts: Prompts) -> "Surface":
        """As the model's own tokenizer cuts the users' texts, without the template."""
        ids = [subject.tokenizer.encode(prompt.text, add_special_tokens=False) for prompt in prompts]
        return cls(
            np.array([prompt.text for prompt in prompts], dtype=object),
            np.array([max(1, len(row)) for row in ids]),
            np.array([row[0] if row else -1 for row in ids]),
        )
