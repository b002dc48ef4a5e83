"""The direction of truth, measured on topics that it has not seen, after Marks and Tegmark 2023 (arXiv:2310.06824).

1. Each statement is put into the model's mouth, and the stream is read at its full stop, after every second block.
2. Leave one topic out: folds of the other topics choose the block, a probe (mass-mean unless another method is named)
   is fitted there to all of them, and reads the topic left out. So neither the place nor the line has seen what it is
   measured on. AUROC compares statements of one topic alone; the interval draws topics.
3. Beside it the controls of every probe (shuffled labels, noise, random directions, length, words), and what would
   speak for likelihood in place of truth: the model's own mean log-probability of a token of the statement. That
   depends on what is spoken of, too, so the two are also compared pair by pair.
4. The probe that is handed back has its block chosen by all topics, and is fitted to all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from probes.linear import Examples, Method, Probe, ProbeSettings, fit_probe
from probes.linear.controls import compared
from probes.linear.folds import topic_groups
from probes.linear.method import methods
from probes.linear.reading import auroc_draws, auroc_score, score_of, topic_draws
from probes.linear.surface import Surface
from probes.linear.training import measured
from probes.linear.validation import HeldOut, chosen_candidate, held_out
from probes.truth.statements import ASKED, Statements
from workbench.activations import Activations, ActivationStore, capture
from workbench.directions import Direction
from workbench.display import Shown
from workbench.errors import ProbeError
from workbench.evaluation.continuations import continuation_logprobs
from workbench.interventions import Recipe
from workbench.models import Site, Subject, token_rows
from workbench.models.chat import encode
from workbench.prompts import Prompt
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

TRUTH, LIKELIHOOD = "truth direction", "log-probability"
LAST = -1  # the full stop


@dataclass(frozen=True)
class AtAnySite:
    """The method at each of several sites, whose activations stand side by side: the site is chosen on folds too."""

    method: Method
    sites: int

    def candidates(self) -> Sequence[Any]:
        return [
            make_pipeline(
                FunctionTransformer(partial(block, place=place, of=self.sites)), *(step for _, step in one.steps)
            )
            for place in range(self.sites)
            for one in self.method.candidates()
        ]


def block(x: Float64[np.ndarray, "n wide"], place: int, of: int) -> Float64[np.ndarray, "n d_model"]:
    """The columns of one of `of` sites."""
    width = x.shape[1] // of
    return x[:, place * width : (place + 1) * width]


@dataclass(frozen=True, eq=False)
class TruthDirection(Shown):
    """The probe of truth, how statements of topics left out are read, and how likely the model finds them.

    `decisions` are in class gaps of each fold's own fitting statements: 0 is their false ones' mean, 1 their true
    ones'. `chosen` are the blocks that were chosen without each topic.
    """

    probe: Probe
    statements: Statements
    decisions: Float64[np.ndarray, " n"]
    likelihood: Float64[np.ndarray, " n"]
    chosen: tuple[Site, ...]
    said: Score
    denied: Score
    paired: Mapping[str, Score]

    def __repr__(self) -> str:
        quality = self.probe.quality
        beside = (f"{name} {quality.controls[name].value:.2f}" for name in (LIKELIHOOD, "words", "shuffled labels"))
        return (
            f"TruthDirection({self.probe.method} at {self.probe.site} of {self.probe.model_name}, AUROC "
            f"{quality.auroc.format('.2f')} n={quality.auroc.n} of {quality.topics} topics left out in turn, "
            f"{', '.join(beside)}; pairs {self.paired[TRUTH].format('.2f')} n={self.paired[TRUTH].n}, {LIKELIHOOD} "
            f"{self.paired[LIKELIHOOD].value:.2f})"
        )

    @property
    def direction(self) -> Direction:
        """The line of the probe; strength 1 is the gap between false and true statements along it."""
        return self.probe.direction()

    @property
    def scores(self) -> Mapping[str, Score]:
        """What is read, of all statements and of those that say or deny, and what the controls read."""
        mine = {
            TRUTH: self.probe.quality.auroc,
            "of “is” alone": self.said,
            "of “is not” alone": self.denied,
        }
        return mine | dict(self.probe.quality.controls)

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each statement."""
        import pandas as pd

        rows = [vars(each) for each in self.statements]
        return pd.DataFrame(rows).assign(coordinate=self.decisions, log_probability=self.likelihood)

    def to_json(self) -> dict[str, Any]:
        """The measures, as plain values."""
        return {
            "says": repr(self), "site": str(self.probe.site), "chosen": [str(site) for site in self.chosen],
            "quality": self.probe.quality.model_dump(), "said": self.said.model_dump(),
            "denied": self.denied.model_dump(),
            "paired": {name: score.model_dump() for name, score in self.paired.items()},
        }  # fmt: skip

    def plot(self) -> Any:
        """What the direction and its controls read."""
        from workbench.plots.truth import scores_figure

        return scores_figure(self.scores, "AUROC on topics left out", 0.5)


def truth_direction(
    subject: Subject,
    statements: Statements,
    *,
    sites: Sequence[Site] | None = None,
    method: Method | str = "mass-mean",
    settings: ProbeSettings | None = None,
    batch_size: int = 32,
    store: ActivationStore | None = None,
) -> TruthDirection:
    """Find the direction and measure it; `sites` default to the stream after every second block.

    Raises ProbeError where there are fewer than three topics.
    """
    places = tuple(sites) if sites is not None else after_blocks(subject)
    acts = capture(subject, statements.said(), sites=places, positions=[LAST], batch_size=batch_size, store=store)
    surface, likely = Surface.of(subject, statements.plain()), log_probabilities(subject, statements.texts)
    return fitted_truth(acts, statements, surface, likely, subject.name, method, settings)


def after_blocks(subject: Subject) -> tuple[Site, ...]:
    """The stream after every second block, the last one among them."""
    return tuple(Site(layer, "resid_post") for layer in range((subject.n_layers - 1) % 2, subject.n_layers, 2))


def log_probabilities(subject: Subject, texts: Sequence[str]) -> Float64[np.ndarray, " n"]:
    """The mean log-probability (nats a token) of each text as the reply to `ASKED`."""
    question = (token_rows(subject, [Prompt(text=ASKED)])[0], [encode(subject, text) for text in texts])
    return np.array([np.mean(tokens) for tokens in continuation_logprobs(subject, Recipe(), [question])[0]])


def fitted_truth(
    acts: Activations, statements: Statements, surface: Surface, likelihood: Float64[np.ndarray, " n"],
    model_name: str, method: Method | str = "mass-mean", settings: ProbeSettings | None = None,
) -> TruthDirection:  # fmt: skip
    """The same of activations that are there already."""
    true, plain = statements.true, statements.plain()
    groups = topic_groups(plain, true)
    topics = len(set(groups.tolist()))
    if topics < 3:
        raise ProbeError(f"Leaving a topic out takes 3 topics at least, and there are {topics}; give more.")
    how = (settings or ProbeSettings()).model_copy(update={"folds": topics})
    made = methods[method]() if isinstance(method, str) else method
    every = AtAnySite(made, len(acts.sites))
    x = np.concatenate([acts.at(site, LAST).double().numpy() for site in acts.sites], axis=1)
    seen = frozenset(prompt.digest for prompt in statements.said())
    examples = Examples(x, true, groups, surface, acts.sites[0], LAST, model_name, acts.model_digest, seen)
    held = held_out(every.candidates(), x, true, groups, how)
    quality = measured(examples, held, every, how)
    draws = topic_draws(groups, how.seed)
    _, beside, gains = compared(held, {LIKELIHOOD: [(likelihood, true)]}, draws)
    quality = quality.model_copy(update={"controls": quality.controls | beside, "gains": quality.gains | gains})
    each = len(every.candidates()) // len(acts.sites)
    best = acts.sites[chosen_candidate(every.candidates(), x, true, groups, how) // each]
    at_best = replace(examples, x=acts.at(best, LAST).double().numpy(), site=best)
    probe = fit_probe(at_best, made, how, quality)
    said, denied = (_auroc_where(held, statements.denies == denies, draws) for denies in (False, True))
    return TruthDirection(
        probe, statements, held.decisions, likelihood, tuple(acts.sites[number // each] for number in held.chosen),
        said, denied, paired_accuracies(statements, {TRUTH: held.decisions, LIKELIHOOD: likelihood}, how.seed),
    )  # fmt: skip


def _auroc_where(held: HeldOut, rows: Bool[np.ndarray, " n"], draws: Float64[np.ndarray, "draw n"]) -> Score:
    drawn = auroc_draws(held.decisions[rows], held.positive[rows], held.folds[rows], draws[:, rows])
    return auroc_score("AUROC", drawn, held.positive[rows])


def pair_gaps(statements: Statements, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " pair"]:
    """How far each true statement lies above its false twin."""
    true, false = statements.pairs.T
    return np.asarray(values[true] - values[false])


def paired_accuracies(
    statements: Statements, values: Mapping[str, Float64[np.ndarray, " n"]], seed: int = 0
) -> dict[str, Score]:
    """Of how many pairs each way has the true statement above its twin, and the gain of the first over each other.

    The two are of one template and speak of one thing, so that what is common to them does not count. Intervals draw
    topics.
    """
    topics = np.unique([statements[int(row)].topic for row in statements.pairs[:, 0]], return_inverse=True)[1]
    draws, drawn = topic_draws(topics, seed), {}
    for name, each in values.items():
        gaps = pair_gaps(statements, each)
        drawn[name] = draws @ ((gaps > 0) + 0.5 * (gaps == 0)) / draws.sum(axis=1)
    first, *others = drawn
    found = {name: score_of(name, each, len(topics)) for name, each in drawn.items()}
    gains = {f"gain over {name}": drawn[first] - drawn[name] for name in others}
    return found | {name: score_of(name, each, len(topics)) for name, each in gains.items()}
