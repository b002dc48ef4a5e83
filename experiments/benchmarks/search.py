"""How long does choosing a direction take: our screened search against the paper's, from the same candidates.

Ours runs whole in every round. The paper's takes the same time for every candidate, so a round of it runs a sample of
them (all of them with `whole=True`) and is compared by the candidate.
"""

from collections.abc import Sequence
from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.plain import plain_model
from experiments.benchmarks.plain_search import PlainSearch
from workbench.activations import capture
from workbench.directions import extract_directions
from workbench.evaluation.refusal import refusal_tokens
from workbench.models import Subject
from workbench.prompts import ContrastPairs, builtin_pairs
from workbench.search.choosing import choose, relaxed_choice
from workbench.search.finding import draw
from workbench.search.scoring import Candidates, Ledger, Scorer
from workbench.search.settings import SearchSettings
from workbench.search.strategies import strategies

SAMPLE = 12
SETTINGS = SearchSettings(filtered=False)


@benchmarks.register("search")
def search(subject: Subject, rounds: int) -> dict[str, Any]:
    """Candidates scored a second, for refusing the built-in harmful requests."""
    return compare(subject, rounds)


@benchmarks.register("search-whole")
def search_whole(subject: Subject, rounds: int) -> dict[str, Any]:
    """The same, with every candidate of the paper's way, once: what it chooses, and whether ours is as good."""
    return compare(subject, 1, whole=True)


def compare(
    subject: Subject,
    rounds: int,
    pairs: ContrastPairs | None = None,
    starts: Sequence[str] | None = None,
    whole: bool = False,
) -> dict[str, Any]:
    """Our search and the paper's on the same candidates and validation prompts, which no filter thins out.

    `starts` is how replies that show the behaviour begin; by default, how refusals do.
    """
    train, val = draw(pairs or builtin_pairs("train"), None, SETTINGS)
    tokens = refusal_tokens(subject, train.positive, starts).ids
    candidates = _candidates(subject, train)
    scorer = Scorer.prepare(subject, val, tokens, SETTINGS.batch_size, SETTINGS.seed)
    plain = PlainSearch.of(plain_model(subject), subject, scorer.harmful, scorer.harmless, tokens)
    sample = list(candidates) if whole else list(candidates)[:: max(1, len(candidates) // SAMPLE)][:SAMPLE]
    found: dict[str, Any] = {}

    def ours() -> None:
        fresh = Scorer.prepare(subject, val, tokens, SETTINGS.batch_size, SETTINGS.seed)
        rows = strategies["screened"](Ledger(fresh, candidates), subject.n_layers, SETTINGS).rows
        found["rows"] = rows

    def theirs() -> None:
        found["plain"] = [{"position": p, "layer": s.layer, **plain.score(candidates[p, s])} for p, s in sample]

    units = {"screened": len(candidates), "the paper's": len(sample)}
    timings = interleaved(
        {"screened": ours, "the paper's": theirs}, rounds, units=units, unit="candidates", warm=not whole
    )
    return {"timings": table(timings), "candidates": len(candidates), **_answers(found, subject.n_layers, whole)}


def _answers(found: dict[str, Any], n_layers: int, whole: bool) -> dict[str, Any]:
    """What each way chose, and how far the scores of the same candidates lie apart."""
    ours = _best(found["rows"], n_layers)
    table_of = {(row["position"], row["layer"]): row for row in found["plain"]}
    both = [(row, table_of[p]) for row in found["rows"] if (p := (row["position"], row["layer"])) in table_of]
    gaps = [abs(one["refusal_score"] - other["refusal_score"]) for one, other in both if min(one["n"].values()) >= 32]
    answer = {"ours": {k: v for k, v in ours.items() if k != "intervals"}, "measured": len(found["rows"])}
    if gaps:
        answer["largest_bypass_gap"] = max(gaps)
    if whole:
        theirs = _best(found["plain"], n_layers)
        answer |= {"the_paper": theirs, "same": all(ours[key] == theirs[key] for key in ("position", "layer"))}
    return answer


def _best(rows: Any, n_layers: int) -> Any:
    return choose(rows, n_layers).winner or relaxed_choice(rows, n_layers)


def _candidates(subject: Subject, train: ContrastPairs) -> Candidates:
    positive, negative = (capture(subject, side) for side in (train.positive, train.negative))
    return extract_directions(subject, positive, negative)
