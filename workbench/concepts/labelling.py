"""Labels for texts that nobody has labelled: a model is asked, or features of a sparse autoencoder are read.

- asked: the log-odds of yes against no to whether a text shows a concept, less those for a text that says nothing, for
  a model leans to one word whatever it is asked (Zhao et al. 2021). Shown at `sure` nats or more, not shown at `-sure`
  or less; between them a text is not labelled.
- features: a text shows a concept where the largest activation of the feature is among the highest `share` of those
  texts where it is active at all, and does not where the feature is off at every token.

Both give rows as a labelled .jsonl file has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from workbench.concepts.corpus import capture_corpus
from workbench.directions import SparseAutoencoder
from workbench.errors import ConceptError
from workbench.evaluation.untrusted import defused
from workbench.evaluation.yes_no import answers
from workbench.models import Site, Subject, render
from workbench.models.chat import encode
from workbench.runs import track

_ASKED = "Text: {text}\n\nQuestion: Does this text show the following? {what}\nAnswer with Yes or No."
_NOTHING = "N/A"
_AT_ONCE = 16  # texts


def asked_labels(
    subject: Subject, texts: Sequence[str], concepts: Mapping[str, str], *, sure: float = 1.0
) -> list[dict[str, Any]]:
    """What a model says of each text and each concept, which is given by name and description.

    Raises ConceptError where there are no texts or no concepts.
    """
    _require(texts, concepts)
    found: list[dict[str, Any]] = []
    for name, what in track(concepts.items(), "Asking for labels"):
        odds = asked_odds(subject, texts, f"{name}: {what}" if what else name)
        found.extend(_rows(name, texts, odds >= sure, odds <= -sure))
    return found


def asked_odds(subject: Subject, texts: Sequence[str], what: str) -> Float[np.ndarray, " text"]:
    """Log-odds of yes against no, in nats, beyond those for a text that says nothing; nan where one is too long."""
    rows = [_row(subject, text, what) for text in (_NOTHING, *texts)]
    said = answers(subject, rows, ("yes", "no"), batch_size=_AT_ONCE)
    likely = torch.tensor([np.nan if each is None else each.probability for each in said], dtype=torch.float64)
    odds = torch.logit(likely, eps=1e-9).numpy()
    return odds[1:] - odds[0]


def feature_labels(
    subject: Subject, texts: Sequence[str], sparse: SparseAutoencoder, site: Site, features: Mapping[str, int],
    *, share: float = 0.5,
) -> list[dict[str, Any]]:  # fmt: skip
    """What features of an autoencoder of the stream at `site` say of each text, by the name that each is given.

    Raises ConceptError where there are no texts or features, or a feature that the autoencoder lacks.
    """
    _require(texts, features)
    if not 0 < share <= 1:
        raise ConceptError(f"The share is {share}; give one above 0 and at most 1.")
    for name, index in features.items():
        if not 0 <= index < len(sparse.encoder):
            raise ConceptError(f"{name}: there is no feature {index}; there are 0-{len(sparse.encoder) - 1}.")
    corpus = capture_corpus(subject, texts, site)
    numbers = list(features.values())
    active = torch.stack([sparse(corpus.acts[corpus.rows(i)])[:, numbers].amax(dim=0) for i in range(len(texts))])
    found: list[dict[str, Any]] = []
    for name, values in zip(features, active.double().numpy().T, strict=True):
        on = values > 0
        cut = np.quantile(values[on], 1 - share, method="higher") if on.any() else np.inf
        found.extend(_rows(name, texts, on & (values >= cut), ~on))
    return found


def _row(subject: Subject, text: str, what: str) -> list[int]:
    content = _ASKED.format(text=defused(subject, text), what=what)
    return encode(subject, render(subject, [{"role": "user", "content": content}]))


def _rows(name: str, texts: Sequence[str], shown: np.ndarray, not_shown: np.ndarray) -> Iterator[dict[str, Any]]:
    for text, yes, no in zip(texts, shown, not_shown, strict=True):
        if yes or no:
            yield {"text": text, "concept": name, "label": bool(yes)}


def _require(texts: Sequence[str], concepts: Mapping[str, Any]) -> None:
    if not texts or not concepts:
        raise ConceptError(f"There are {len(texts)} texts and {len(concepts)} concepts to label; give some of each.")
