"""Find the direction that mediates a behaviour.

1. Draw train and validation prompts; hold validation apart.
2. Keep the prompts on which the model shows the behaviour where it should, and does not where it should not.
3. Capture activations of the train prompts, and extract a direction at every position and layer.
4. Score candidates on the validation prompts, as the search strategy spends the passes, and choose by the paper's rule.
5. Where nothing passes the rule, say so, and go on with the smallest bypass below the late layers.

What is found is never reported on the prompts that chose it: test prompts are the evaluation's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.activations import ActivationStore
from workbench.directions import Direction
from workbench.display import Shown
from workbench.errors import SearchError
from workbench.evaluation.refusal import (
    FILTERED,
    RefusalTokens,
    as_quality,
    intervals_as_quality,
    metric_of,
    refusal_tokens,
)
from workbench.interventions import Recipe
from workbench.models import Site, Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts, for_tuning
from workbench.runs import RunFolder, note
from workbench.search.choosing import SCORES, Choice, Row, choose, last_layer, pareto_front, relaxed_choice
from workbench.search.methods import Task, make_candidates, require_method
from workbench.search.scoring import Ledger, Scorer
from workbench.search.settings import SearchSettings
from workbench.search.strategies import strategies

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

LEAST = 4  # prompts that must be left on each side


@dataclass(frozen=True)
class Found(Shown):
    """The chosen direction, and everything that it was chosen from."""

    direction: Direction
    row: Row
    passed_rule: bool
    reasons: dict[str, int]
    evaluations: tuple[Row, ...]
    tokens: RefusalTokens
    kept: dict[str, str]
    settings: SearchSettings
    n_layers: int
    report: Mapping[str, Any]

    def __repr__(self) -> str:
        rule = "by the paper's rule" if self.passed_rule else "outside the paper's rule"
        return f"Found({self.direction!r}, {rule}, of {self.report['candidates']} candidates)"

    @property
    def front(self) -> list[Row]:
        """The rows that no other beats on both bypass and KL."""
        return [self.evaluations[index] for index in pareto_front(self.evaluations)]

    def to_json(self) -> dict[str, Any]:
        return {
            "chosen": dict(self.row),
            "passed_rule": self.passed_rule,
            "n_layers": self.n_layers,
            "dropped": self.reasons,
            "refusal_tokens": asdict(self.tokens),
            "kept": self.kept,
            "direction": {"digest": self.direction.digest, "scale": self.direction.scale},
            "search": dict(self.report),
            "front": [dict(row) for row in self.front],
            "evaluations": [dict(row) for row in self.evaluations],
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a candidate; the intervals as columns of their own."""
        import pandas

        return pandas.json_normalize([dict(row) for row in self.evaluations])

    def plot(self) -> "Figure":
        """Bypass against KL, with the front and the chosen candidate."""
        from workbench.plots import tradeoff_figure

        rows, n = self.evaluations, self.row["n"]
        return tradeoff_figure(
            [row["kl_div_score"] for row in rows],
            [row["refusal_score"] for row in rows],
            [f"position {row['position']}, layer {row['layer']}" for row in rows],
            pareto_front(rows),
            rows.index(self.row),
            bounds=(_bounds(rows, "kl_div_score"), _bounds(rows, "refusal_score")),
            limit=self.settings.kl_max,
            x=f"KL(base || ablated), harmless prompts, n={n['kl_div_score']} (nats)",
            y=f"Bypass, harmful, n={n['refusal_score']} (log-odds)",
        )


def _bounds(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    """The interval of a score of each row; where there is none, the score itself."""
    return [tuple(row[name] if end is None else end for end in row["intervals"][name]) for row in rows]


def find_direction(
    subject: Subject,
    pairs: ContrastPairs,
    *,
    validation: ContrastPairs | None = None,
    settings: SearchSettings | None = None,
    store: ActivationStore | None = None,
    folder: RunFolder | None = None,
) -> Found:
    """Find and choose a direction; `pairs.positive` shows the behaviour (harmful requests, for refusal).

    Validation prompts are held out of `pairs` unless `validation` gives them. With a `folder` the scores are
    written down one by one, and a search that was interrupted goes on where it was.

    Raises SearchError where too few prompts are left, or no candidate can be chosen.
    """
    chosen = settings or SearchSettings()
    require_method(chosen.method)  # before the model is asked anything
    search = strategies[chosen.strategy]
    train, val = draw(pairs, validation, chosen)
    tokens = refusal_tokens(subject, train.positive, chosen.refusal_starts, chosen.batch_size)
    note(f"Refusals begin with {', '.join(map(repr, tokens.texts))} ({tokens.source}).")
    kept_train, said_train = _filtered(subject, train, tokens, chosen, "train")
    kept_val, said_val = _filtered(subject, val, tokens, chosen, "validation")
    kept_val = _capped(kept_val, chosen)
    candidates = make_candidates(Task(subject, kept_train, tokens.ids, chosen, store, folder))
    scorer = Scorer.prepare(subject, kept_val, tokens.ids, chosen.batch_size, chosen.seed)
    searched = search(Ledger(scorer, candidates, folder), subject.n_layers, chosen)
    row, choice = choose_or_relax(searched.rows, subject.n_layers, chosen)
    direction = replace(
        candidates[row["position"], Site(row["layer"], "resid_pre")],
        quality=quality_of(row) | as_quality(tokens.ids) | {FILTERED: float(chosen.filtered)},
        seen=frozenset(p.digest for pairs in (train, val) for side in (pairs.positive, pairs.negative) for p in side),
    )
    return Found(
        direction=direction,
        row=row,
        passed_rule=choice.winner is not None,
        reasons=choice.reasons,
        evaluations=tuple(searched.rows),
        tokens=tokens,
        kept={"train": said_train, "validation": said_val},
        settings=chosen,
        n_layers=subject.n_layers,
        report=searched.report,
    )


def quality_of(row: Row) -> dict[str, float]:
    """The scores of a candidate, with their intervals, as its direction keeps them."""
    return {name: float(row[name]) for name in SCORES} | intervals_as_quality(row["intervals"], row["n"])


def draw(
    pairs: ContrastPairs, validation: ContrastPairs | None, settings: SearchSettings
) -> tuple[ContrastPairs, ContrastPairs]:
    """Train and validation prompts, with nothing in both."""
    sides = []
    for name, given, held in (
        ("harmful", pairs.positive, validation and validation.positive),
        ("harmless", pairs.negative, validation and validation.negative),
    ):
        for_tuning(given, "a search").require(LEAST if held else 2 * LEAST, f"The {name} side")
        if held:
            for_tuning(held, "a search")
        wanted = settings.n_val if held else min(settings.n_val, len(given) // 2)
        val = (held if held else given).sample(wanted, settings.seed)
        train = given.without({prompt.digest for prompt in val}).sample(settings.n_train, settings.seed)
        sides.append((train.require(LEAST, f"The {name} train set"), val))
    (harmful_train, harmful_val), (harmless_train, harmless_val) = sides
    return ContrastPairs(harmful_train, harmless_train), ContrastPairs(harmful_val, harmless_val)


def kept_pairs(
    subject: Subject, train: ContrastPairs, val: ContrastPairs, tokens: RefusalTokens, settings: SearchSettings
) -> tuple[ContrastPairs, ContrastPairs]:
    """The prompts of both parts on which the model shows the behaviour where it should, and not where it should not."""
    kept, _ = _filtered(subject, train, tokens, settings, "train")
    held, _ = _filtered(subject, val, tokens, settings, "validation")
    return kept, _capped(held, settings)


def choose_or_relax(rows: Sequence[Row], n_layers: int, settings: SearchSettings) -> tuple[Row, Choice]:
    """The paper's choice, or the smallest bypass below the late layers where nothing passes."""
    choice = choose(
        rows, n_layers, kl_max=settings.kl_max, induce_min=settings.induce_min, drop_last=settings.drop_last
    )
    row = choice.winner or relaxed_choice(rows, n_layers, settings.drop_last)
    if row is None:
        raise SearchError(
            f"None of {len(rows)} candidates has finite scores below layer "
            f"{last_layer(n_layers, settings.drop_last)}; search earlier layers, or try --dtype float32."
        )
    if choice.winner is None:
        dropped = ", ".join(f"{count} by {reason}" for reason, count in choice.reasons.items())
        note(f"No candidate passes the paper's rule ({dropped}); going on with the smallest bypass, outside it.")
    return row, choice


def _filtered(
    subject: Subject, pairs: ContrastPairs, tokens: RefusalTokens, settings: SearchSettings, part: str
) -> tuple[ContrastPairs, str]:
    """Keep harmful prompts that are refused (> 0) and harmless ones that are not (< 0)."""
    if not settings.filtered:
        return pairs, "all prompts (no filter)"
    harmful = _keep(subject, pairs.positive, tokens, settings.batch_size, refused=True)
    harmless = _keep(subject, pairs.negative, tokens, settings.batch_size, refused=False)
    said = (
        f"{len(harmful)} of {len(pairs.positive)} harmful prompts are refused and {len(harmless)} of "
        f"{len(pairs.negative)} harmless ones are not"
    )
    note(f"{part.capitalize()}: {said}.")
    if len(harmful) < LEAST or len(harmless) < LEAST:
        raise SearchError(
            f"Of the {part} prompts, {said}; at least {LEAST} of each are needed. {subject.name} may not have this "
            "behaviour: give more prompts or others, or search all the same (--no-filter; `filtered=False`)."
        )
    return ContrastPairs(harmful, harmless), said


def _capped(pairs: ContrastPairs, settings: SearchSettings) -> ContrastPairs:
    if settings.most_val is None:
        return pairs
    sides = (side.sample(settings.most_val, settings.seed) for side in (pairs.positive, pairs.negative))
    return ContrastPairs(*sides)


def _keep(subject: Subject, prompts: Prompts, tokens: RefusalTokens, batch_size: int, refused: bool) -> Prompts:
    batches = subject.batches(token_rows(subject, prompts), batch_size)
    scores = metric_of(subject, batches, Recipe(), tokens.ids)
    return prompts.pick([i for i, score in enumerate(scores) if (score > 0 if refused else score < 0)])
