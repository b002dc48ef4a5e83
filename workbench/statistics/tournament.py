"""Who is preferred to whom: the Bradley-Terry model (Bradley and Terry 1952).

    P(a is preferred to b) = exp(s_a) / (exp(s_a) + exp(s_b))

Strengths by Hunter's minorise-maximise iteration (2004), centred on 0; intervals by resampling the prompts, for
comparisons of several players on one prompt share its replies.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components

from workbench.errors import UsageError
from workbench.statistics.score import Score

_ROUNDS, _CLOSE, _RESAMPLES = 10_000, 1e-12, 500


def bradley_terry(
    preferences: Sequence[tuple[str, str]], seed: int = 0, prompts: Sequence[Hashable] | None = None
) -> dict[str, Score]:
    """The strength of each player, in log-odds, from (winner, loser) pairs.

    `prompts` says on which prompt each was compared; by default every comparison has its own. n counts prompts.

    Raises UsageError where some players never lost to, or never won against, the others: their strength is then
    without bound.
    """
    names = sorted({name for pair in preferences for name in pair})
    if len(names) < 2:
        raise UsageError("Preferences need two players at least; give pairs of a winner and a loser.")
    places = {name: place for place, name in enumerate(names)}
    pairs = np.array([[places[winner], places[loser]] for winner, loser in preferences])
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts or range(len(pairs))))}
    group = np.array([numbers[prompt] for prompt in prompts or range(len(pairs))])
    strengths = _fitted(pairs, np.ones(len(pairs)), len(names))
    if strengths is None:
        raise UsageError(
            "The preferences do not decide all strengths: some players were never preferred to the others, or always; "
            "compare more, or leave them out."
        )
    generator = np.random.default_rng(seed)
    times = (np.bincount(generator.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
             for _ in range(_RESAMPLES))  # fmt: skip
    drawn = [_fitted(pairs, each[group], len(names)) for each in times]
    kept = np.array([each for each in drawn if each is not None])
    ends: list[list[float | None]] = [[None] * len(names)] * 2
    # A resample that does not decide the strengths stands for an unbounded one: with many of them there is no end.
    if len(kept) >= 0.975 * _RESAMPLES:
        ends = np.quantile(kept, [0.025, 0.975], axis=0).tolist()
    played = [len(set(group[(pairs == place).any(axis=1)])) for place in range(len(names))]
    return {
        name: Score(name=name, value=float(strengths[p]), low=ends[0][p], high=ends[1][p], n=played[p], better="higher")
        for name, p in places.items()
    }


def _fitted(pairs: np.ndarray, times: np.ndarray, n: int) -> np.ndarray | None:
    """Log strengths from pairs that count so many times each, or None where they do not decide them."""
    wins = np.zeros((n, n))
    np.add.at(wins, (pairs[:, 0], pairs[:, 1]), times)
    if connected_components(wins, connection="strong")[0] > 1:
        return None
    games, won = wins + wins.T, wins.sum(axis=1)
    strength = np.ones(n)
    for _ in range(_ROUNDS):
        before = strength
        strength = won / (games / (before[:, None] + before[None, :])).sum(axis=1)
        strength = strength / np.exp(np.log(strength).mean())
        if np.abs(strength - before).max() < _CLOSE:
            break
    return np.asarray(np.log(strength))
