"""Where is it read? A ridge probe at every site and position of a model.

1. Prompts are parted by topic: a quarter is set apart to report on (or other prompts are given for that).
2. At every place of the rest, ridge regression in closed form on folds of topics (see `closed_form`), of which the
   penalty of highest AUROC counts. Shuffled labels have the same choice, place by place and over all places.
3. The best place is the highest AUROC on these folds. It is fitted there to all of the rest and read once on the
   prompts set apart, which neither chose nor fitted anything; beside it the mean of lines fitted to shuffled labels,
   and a bag of words.

An interval in the table is of that place alone; that the best of many is lucky, the report corrects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from probes.linear.closed_form import STRENGTHS, ridge_held_out, ridge_line
from probes.linear.controls import SHUFFLED, WORDS, shuffled_in_folds, surface_baselines
from probes.linear.folds import grouped_folds, require_classes, topic_groups
from probes.linear.reading import auroc_draws, auroc_score, no_gain, score_of, topic_draws
from probes.linear.settings import ProbeSettings
from probes.linear.surface import Surface
from probes.linear.training import both_sides
from probes.linear.validation import chosen_candidate
from workbench.activations import Activations, ActivationStore, Positions, capture
from workbench.display import Shown
from workbench.errors import ProbeError, PromptError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompt, Prompts
from workbench.prompts.splits import near_duplicate_groups
from workbench.runs import note, track
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

STREAMS = ("resid_post", "attn_out", "mlp_out")
APART = 4  # one topic in so many is set apart
_DRAWS = 400
Place = tuple[Site, int | None]


@dataclass(frozen=True, eq=False)
class ProbeSweep(Shown):
    """The held-out AUROC of each place, with that of shuffled labels, and what the best place reads on prompts apart.

    `shuffled_best` is the mean, over shuffles, of the highest AUROC that any place has: what choosing alone gives.
    """

    places: tuple[Place, ...]
    scores: tuple[Score, ...]
    shuffled: tuple[Score, ...]
    strengths: tuple[float, ...]
    shuffled_best: float
    reported: Score
    controls: Mapping[str, Score]
    gains: Mapping[str, Score]
    model_name: str

    @property
    def as_good(self) -> tuple[str, ...]:
        """The controls over which no gain is shown on the prompts apart."""
        return no_gain(self.gains)

    def __repr__(self) -> str:
        (site, position), score = self.best()
        where = "the mean of the prompt" if position is None else f"position {position}"
        as_much = ", ".join(self.as_good)
        warning = f"; its control reads as much, for all that n={self.reported.n} shows: {as_much}" if as_much else ""
        return (
            f"ProbeSweep({len(self.places)} places of {self.model_name}; best {site} at {where}, AUROC "
            f"{score.format('.3f')} n={score.n} (shuffled labels' best {self.shuffled_best:.3f}); on prompts apart "
            f"{self.reported.format('.3f')} n={self.reported.n}, words {self.controls[WORDS].value:.3f}{warning})"
        )

    def best(self) -> tuple[Place, Score]:
        """The place of highest AUROC on the folds, and its AUROC there; what to report of it is `reported`."""
        number = int(np.argmax([score.value for score in self.scores]))
        return self.places[number], self.scores[number]

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each place."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The same as plain values."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for (site, position), score, control, strength in zip(
            self.places, self.scores, self.shuffled, self.strengths, strict=True
        ):
            yield {
                "site": str(site), "layer": site.layer, "stream": site.stream, "position": position,
                "auroc": score.value, "low": score.low, "high": score.high, "n": score.n, "shuffled": control.value,
                "shuffled_low": control.low, "shuffled_high": control.high, "strength": strength,
            }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        (site, position), score = self.best()
        return {
            "best": {"site": str(site), "position": position, "folds": score.model_dump()},
            "shuffled_best": self.shuffled_best,
            "reported": self.reported.model_dump(),
            "controls": {name: control.model_dump() for name, control in self.controls.items()},
            "gains": {name: gain.model_dump() for name, gain in self.gains.items()},
            "as_good": list(self.as_good),
            "rows": self.rows(),
        }

    def plot(self) -> Any:
        """A map of layer and position for each stream."""
        from workbench.plots.probes import auroc_map

        return auroc_map(self.rows(), self.best()[0])


def sweep_probes(
    subject: Subject,
    pairs: ContrastPairs,
    *,
    report: ContrastPairs | None = None,
    sites: Sequence[Site] | None = None,
    positions: Positions = "post_instruction",
    settings: ProbeSettings | None = None,
    batch_size: int = 32,
    store: ActivationStore | None = None,
) -> ProbeSweep:
    """Probe every place (default: all three streams of every block) for what parts `pairs`.

    `report` are prompts to report on, which may be a locked test part; without them a quarter of the topics of `pairs`
    is set apart. Raises ProbeError where there is one class only or too few topics, PromptError where `pairs` are
    locked or share prompts with `report`.
    """
    how = settings or ProbeSettings()
    (prompts, positive), apart = both_sides(pairs), None
    if report is not None:
        others, apart = _reported_on(prompts, report)
        prompts, positive = Prompts((*prompts, *others), "all prompts"), np.concatenate([positive, apart])
    groups = topic_groups(prompts, positive)
    inside = np.arange(len(prompts)) < len(prompts) - (0 if apart is None else len(apart))
    if apart is None:
        require_classes(positive, groups, APART)
        inside = grouped_folds(positive, groups, APART, how.seed) > 0
    chosen = tuple(sites) if sites is not None else all_sites(subject)
    acts = capture(subject, prompts, sites=chosen, positions=positions, batch_size=batch_size, store=store)
    return sweep_of(acts, Parts(positive, groups, inside, Surface.of(subject, prompts)), how, subject.name)


def _reported_on(prompts: Prompts, report: ContrastPairs) -> tuple[list[Prompt], Bool[np.ndarray, " m"]]:
    """Both sides of what is reported on, without prompts that are nearly the same as one that is probed."""
    seen = {prompt.digest for prompt in prompts}
    both = (*report.positive, *report.negative)
    shared = sum(prompt.digest in seen for prompt in both)
    if shared:
        raise PromptError(f"{shared} prompts are probed and reported on; give others to report on.")
    near = near_duplicate_groups([[prompt.text] for prompt in (*prompts, *both)])
    fresh = ~np.isin(near[len(prompts) :], near[: len(prompts)])
    apart = (np.arange(len(both)) < len(report.positive))[fresh]
    if not fresh.all():
        note(f"{int((~fresh).sum())} of {len(both)} prompts to report on are left out: nearly the same are probed.")
    if len(set(apart.tolist())) < 2:
        raise PromptError(
            "On one side all prompts to report on are nearly the same as ones that are probed; give others."
        )
    return [prompt for prompt, kept in zip(both, fresh, strict=True) if kept], apart


def all_sites(subject: Subject) -> tuple[Site, ...]:
    """The stream after every block, and what its attention and its MLP write."""
    return tuple(Site(layer, stream) for layer in range(subject.n_layers) for stream in STREAMS)


@dataclass(frozen=True, eq=False)
class Parts:
    """The class, topic and surface of each prompt, and which are `inside`: those that choose and fit."""

    positive: Bool[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    inside: Bool[np.ndarray, " n"]
    surface: Surface


def sweep_of(acts: Activations, parts: Parts, settings: ProbeSettings | None = None, name: str = "") -> ProbeSweep:
    """The sweep of activations that are there already."""
    how, inside = settings or ProbeSettings(), parts.inside
    positive, groups = parts.positive[inside], parts.groups[inside]
    folds = grouped_folds(positive, groups, how.folds, how.seed)
    random = np.random.default_rng(how.seed)
    labels = np.stack([positive, *(shuffled_in_folds(positive, folds, random) for _ in range(how.shuffles))], axis=1)
    draws = topic_draws(groups, how.seed, _DRAWS)
    places: list[Place] = [(site, position) for site in acts.sites for position in acts.positions or (None,)]
    read = []
    for place in track(places, "Probing every place"):
        read.append(_place(_points(acts, place)[inside], labels, folds, draws))
    best = int(np.argmax([score.value for score, *_ in read]))
    reported, controls, gains = _reported(_points(acts, places[best]), parts, labels, read[best][2], how)
    chance = float(np.max([each for *_, each in read], axis=0).mean())
    scores, shuffled, strengths, _ = zip(*read, strict=True)
    return ProbeSweep(tuple(places), scores, shuffled, strengths, chance, reported, controls, gains, name)


def _points(acts: Activations, place: Place) -> Float64[np.ndarray, "n d"]:
    x = acts.at(*place).double().numpy()
    broken = int((~np.isfinite(x).all(axis=1)).sum())
    if broken:
        where = f"{place[0]}, position {place[1]}"
        raise ProbeError(f"{broken} of {len(x)} vectors at {where} are not finite; capture again with --dtype float32.")
    return x


def _place(
    x: Float64[np.ndarray, "n d"], labels: Bool[np.ndarray, "n k"], folds: Int[np.ndarray, " n"],
    draws: Float64[np.ndarray, "draw n"],
) -> tuple[Score, Score, float, list[float]]:  # fmt: skip
    """Its AUROC and that of shuffled labels, its strength, and each shuffle's AUROC."""
    said = ridge_held_out(x, 2.0 * labels - 1.0, folds)
    drawn, strengths = [], []
    for column in range(labels.shape[1]):
        plain = [auroc_draws(one[:, column], labels[:, column], folds, draws[:1])[0] for one in said]
        strengths.append(int(np.argmax(np.round(plain, 6))))
        drawn.append(auroc_draws(said[strengths[-1]][:, column], labels[:, column], folds, draws))
    score = auroc_score("AUROC", drawn[0], labels[:, 0])
    control = auroc_score(f"AUROC, {SHUFFLED}", np.mean(drawn[1:], axis=0), labels[:, 0])
    return score, control, STRENGTHS[strengths[0]], [float(each[0]) for each in drawn[1:]]


def _reported(
    x: Float64[np.ndarray, "n d"], parts: Parts, labels: Bool[np.ndarray, "m k"], strength: float, how: ProbeSettings
) -> tuple[Score, dict[str, Score], dict[str, Score]]:
    """What the best place, shuffled labels and words read on the prompts set apart, and its gain over these."""
    inside, positive = parts.inside, parts.positive[~parts.inside]
    weight, bias = ridge_line(x[inside], 2.0 * labels - 1.0, strength)
    said = x[~inside] @ weight + bias
    words, texts = surface_baselines(parts.surface)[WORDS]
    fit = (texts[inside], parts.positive[inside])
    chosen = words[chosen_candidate(words, *fit, parts.groups[inside], how)].fit(*fit)
    draws, one = topic_draws(parts.groups[~inside], how.seed), np.zeros(len(positive), dtype=int)
    drawn = [
        auroc_draws(column, positive, one, draws) for column in [*said.T, chosen.decision_function(texts[~inside])]
    ]
    ours, theirs = drawn[0], {SHUFFLED: np.mean(drawn[1:-1], axis=0), WORDS: drawn[-1]}
    return (
        auroc_score("AUROC on prompts apart", ours, positive),
        {name: auroc_score(f"AUROC, {name}", each, positive) for name, each in theirs.items()},
        {name: score_of(f"gain over {name}", ours - each, len(positive)) for name, each in theirs.items()},
    )
