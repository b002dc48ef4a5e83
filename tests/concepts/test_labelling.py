"""Labels by asking a model, and by features of a sparse autoencoder."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.concepts.planted import WORDS
from workbench.concepts import asked_labels, asked_odds, feature_labels
from workbench.concepts.corpus import capture_corpus
from workbench.directions import SparseAutoencoder
from workbench.errors import ConceptError
from workbench.models import Site, Subject, render
from workbench.models.chat import encode

TEXTS = tuple(f"{a} {b} {a}" for a in WORDS[:5] for b in WORDS[6:9])
SITE = Site(1, "resid_post")


def test_odds_are_those_of_the_answer_beyond_a_text_that_says_nothing(llama: Subject) -> None:
    def plainly(text: str) -> float:
        """Every spelling's probability, one row and one token at a time."""
        asked = f"Text: {text}\n\nQuestion: Does this text show the following? weather\nAnswer with Yes or No."
        row = encode(llama, render(llama, [{"role": "user", "content": asked}]))
        total = dict.fromkeys(("yes", "no"), 0.0)
        for word in total:
            spellings = {tuple(llama.tokenizer(form, add_special_tokens=False)["input_ids"])
                         for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")}  # fmt: skip
            for spelling in spellings:
                likely = llama.logits(llama.batch([[*row, *spelling]]))[0].double().log_softmax(dim=-1)
                places = range(len(row) - 1, len(row) - 1 + len(spelling))
                total[word] += float(sum(likely[p, t] for p, t in zip(places, spelling, strict=True)).exp())
        return float(np.log(total["yes"]) - np.log(total["no"]))

    found = asked_odds(llama, TEXTS[:3], "weather")
    expected = [plainly(text) - plainly("N/A") for text in TEXTS[:3]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_text_is_labelled_where_the_model_is_sure(llama: Subject) -> None:
    odds = asked_odds(llama, TEXTS, "weather: rain and wind")
    cut = float(np.median(np.abs(odds)))
    rows = asked_labels(llama, TEXTS, {"weather": "rain and wind"}, sure=cut)
    assert {row["text"]: row["label"] for row in rows} == {
        text: bool(value > 0) for text, value in zip(TEXTS, odds, strict=True) if abs(value) >= cut
    }


def test_texts_in_which_a_feature_is_most_active_show_it(llama: Subject) -> None:
    reads = torch.randn(llama.d_model, generator=torch.Generator().manual_seed(0))
    acts = {text: capture_corpus(llama, [text, TEXTS[0]], SITE).acts for text in TEXTS}
    length = {text: len(encode(llama, text)) - 1 for text in TEXTS}
    highest = {text: float((acts[text][: length[text]] @ reads).max()) for text in TEXTS}
    order = sorted(TEXTS, key=highest.__getitem__)
    gaps = [highest[b] - highest[a] for a, b in pairwise(order)]
    n_off = int(np.argmax(gaps[:-2])) + 1  # a cut where no rounding reaches
    zero, cut = torch.zeros(1, llama.d_model), (highest[order[n_off - 1]] + highest[order[n_off]]) / 2
    sparse = SparseAutoencoder(reads[None], zero, torch.tensor([-cut]), zero[0], zero[0], torch.zeros(1))
    rows = feature_labels(llama, TEXTS, sparse, SITE, {"mine": 0}, share=1.0)
    assert [row["text"] for row in rows if not row["label"]] == [text for text in TEXTS if text in order[:n_off]]
    assert len(rows) == len(TEXTS)
    best = feature_labels(llama, TEXTS, sparse, SITE, {"mine": 0}, share=1e-6)
    assert [row["text"] for row in best if row["label"]] == order[-1:]


@pytest.mark.parametrize(
    ("features", "share", "said"),
    [({}, 0.5, "15 texts and 0 concepts"), ({"a": 3}, 0.5, "a: there is no feature 3"), ({"a": 0}, 0.0, "above 0")],
)
def test_what_cannot_be_labelled_is_said(llama: Subject, features: dict[str, int], share: float, said: str) -> None:
    zeros = torch.zeros(1, llama.d_model)
    sparse = SparseAutoencoder(zeros, zeros, torch.zeros(1), zeros[0], zeros[0], torch.zeros(1))
    with pytest.raises(ConceptError, match=said):
        feature_labels(llama, TEXTS, sparse, SITE, features, share=share)
