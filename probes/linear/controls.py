"""What reads as much without knowing: controls and surface baselines, on the probe's own folds.

    shuffled labels    the same method, the labels dealt out anew inside each fold (Hewitt and Liang 2019)
    random features    the same method on noise with each feature's mean and deviation
    random direction   a random line, its sign chosen on the fitting prompts
    length             the number of tokens of the prompt's text
    first token        which token the text begins with
    words              TF-IDF of words and pairs of words, logistic regression, strength chosen on inner folds

The first two fit with what the true labels chose. Selectivity is the AUROC less that of shuffled labels. A control
reads as much where the interval of the probe's gain over it does not lie above 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from probes.linear.reading import auroc_draws, auroc_score, score_of
from probes.linear.settings import ProbeSettings
from probes.linear.surface import Surface
from probes.linear.validation import HeldOut, Labels, Numbers, Places, decided, held_out, in_gaps
from workbench.runs import track
from workbench.statistics import Score

SHUFFLED, FEATURES, DIRECTION = "shuffled labels", "random features", "random direction"
LENGTH, FIRST, WORDS = "length", "first token", "words"
_LINES = 32
_WORD = r"(?u)\w+|[^\w\s]"  # signs too, so that a text of signs alone has something to read
Reads = Sequence[tuple[Numbers, Labels]]


def controls_of(
    candidates: Sequence[Any], x: np.ndarray, held: HeldOut, groups: Places, surface: Surface, how: ProbeSettings
) -> Mapping[str, Reads]:
    """What each control decides of every prompt, once or several times, and the labels that it is judged by."""
    random = np.random.default_rng(how.seed)
    return {
        SHUFFLED: _shuffled(candidates, x, held, how, random),
        FEATURES: [(_noise(candidates, x, held, random), held.positive)],
        DIRECTION: [(_line(x, held, random), held.positive) for _ in range(_LINES)],
    } | {
        name: [(held_out(pipelines, values, held.positive, groups, how).decisions, held.positive)]
        for name, (pipelines, values) in surface_baselines(surface).items()
    }


def compared(
    held: HeldOut, controls: Mapping[str, Reads], draws: Float64[np.ndarray, "draw n"]
) -> tuple[Score, dict[str, Score], dict[str, Score]]:
    """The probe's AUROC, each control's, and the probe's gain over each."""
    ours, n = auroc_draws(held.decisions, held.positive, held.folds, draws), len(held.positive)
    theirs = {
        name: np.mean([auroc_draws(decisions, labels, held.folds, draws) for decisions, labels in reads], axis=0)
        for name, reads in controls.items()
    }
    return (
        auroc_score("AUROC", ours, held.positive),
        {name: auroc_score(f"AUROC, {name}", drawn, held.positive) for name, drawn in theirs.items()},
        {name: score_of(f"gain over {name}", ours - drawn, n) for name, drawn in theirs.items()},
    )


def surface_baselines(surface: Surface) -> dict[str, tuple[list[Any], np.ndarray]]:
    """Pipelines that see a prompt's surface alone, and what they see."""
    words = [
        make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD),
            LogisticRegression(C=c, max_iter=2000),
        )
        for c in (1.0, 10.0, 100.0)
    ]
    first = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    return {
        LENGTH: ([make_pipeline(StandardScaler(), LogisticRegression())], np.log(surface.lengths)[:, None]),
        FIRST: ([first], surface.first[:, None]),
        WORDS: (words, surface.texts),
    }


def _shuffled(
    candidates: Sequence[Any], x: np.ndarray, held: HeldOut, how: ProbeSettings, random: np.random.Generator
) -> Reads:
    found = []
    for _ in track(range(how.shuffles), "Control: shuffled labels"):
        labels = shuffled_in_folds(held.positive, held.folds, random)
        found.append((decided(candidates, x, labels, held.folds, held.chosen), labels))
    return found


def shuffled_in_folds(positive: Labels, folds: Places, random: np.random.Generator) -> Labels:
    """Labels dealt out anew inside each fold, so that each keeps as many of either class."""
    labels = positive.copy()
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        labels[rows] = positive[random.permutation(rows)]
    return labels


def _noise(candidates: Sequence[Any], x: np.ndarray, held: HeldOut, random: np.random.Generator) -> Numbers:
    noise = random.normal(x.mean(axis=0), x.std(axis=0), size=x.shape)
    return decided(candidates, noise, held.positive, held.folds, held.chosen)


def _line(x: np.ndarray, held: HeldOut, random: np.random.Generator) -> Numbers:
    read = x @ random.normal(size=x.shape[1])
    found = np.empty(len(read))
    for fold in np.unique(held.folds):
        fit, test, positive = held.folds != fold, held.folds == fold, held.positive
        sign = np.sign(read[fit & positive].mean() - read[fit & ~positive].mean())
        found[test] = in_gaps(sign * read[test], sign * read[fit], positive[fit])
    return found
