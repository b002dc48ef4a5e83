"""Rates by type of prompt, and the attack success rate by its name."""

from pathlib import Path

from rich.table import Table

from tests.conftest import random_direction
from workbench.cli.evaluations import evaluation_tables
from workbench.evaluation import Evaluation, Judged, Measured, Outcome, Settings, record_evaluation, rederive
from workbench.evaluation.by_type import attack_success, by_type
from workbench.interventions import Add
from workbench.models import Subject
from workbench.prompts import builtin_prompts
from workbench.runs import RunFolder
from workbench.statistics import rate_score

REFUSE, COMPLY, BROKEN = Outcome.REFUSE, Outcome.COMPLY, Outcome.BROKEN
SAID = {
    "baseline": [("homonym", REFUSE), ("homonym", COMPLY), ("figurative", COMPLY), ("homonym", REFUSE), (None, REFUSE)],
    "treated": [("homonym", BROKEN), ("homonym", COMPLY), ("figurative", None), ("homonym", COMPLY), (None, COMPLY)],
}


def measured(condition: str, asked: str) -> Measured:
    rows = tuple(
        Judged(prompt=f"p{n}", digest=f"d{n}", category=kind, reply="r", outcome=outcome)
        for n, (kind, outcome) in enumerate(SAID[condition])
    )
    return Measured(condition=condition, asked=asked, replies=rows)


def evaluation(asked: str) -> Evaluation:
    return Evaluation(tuple(measured(condition, asked) for condition in SAID))


def test_each_type_has_its_own_rate_n_and_interval() -> None:
    rows = {(row["type"], row["condition"]): row for row in by_type(evaluation("looks-harmful"))}
    assert list(rows) == [(kind, c) for c in SAID for kind in ("homonym", "figurative")]
    expected = rate_score("baseline/looks-harmful/refusal of homonym", 2, 3, "lower")
    assert rows["homonym", "baseline"]["refusal"] == expected.model_dump()
    assert rows["homonym", "treated"]["compliance"]["value"] == 2 / 3
    assert rows["figurative", "treated"]["refusal"] is None  # nothing of it was judged


def test_a_set_of_one_type_or_of_none_has_no_table() -> None:
    plain = measured("baseline", "harmless")
    for kind in ("homonym", None):
        same = plain.model_copy(
            update={"replies": tuple(r.model_copy(update={"category": kind}) for r in plain.replies)}
        )
        assert by_type(Evaluation((same,))) == []


def test_the_attack_success_rate_is_coherent_compliance_with_harmful_requests_and_with_no_others() -> None:
    found = evaluation("harmful")
    rates = attack_success(found)
    assert {c: (r["value"], r["n"]) for c, r in rates.items()} == {"baseline": (2 / 5, 5), "treated": (3 / 4, 4)}
    assert rates["treated"] == found.score("treated", "harmful", "compliance").model_dump()
    assert attack_success(evaluation("harmless")) == {}


def test_types_and_attack_success_are_in_results_report_and_tables_and_derive_again(
    llama: Subject, tmp_path: Path
) -> None:
    sets = {name: builtin_prompts(name, "test")[:6] for name in ("harmful", "harmless")}
    kinds = {prompt.category for prompt in sets["harmful"]}
    assert len(kinds) > 1
    recipe = Add(random_direction(llama), 2.0).at("all")
    settings = Settings(max_new_tokens=4, batch_size=6)
    folder = record_evaluation(llama, recipe, sets, settings=settings, out=tmp_path / "r")
    results = folder.results()
    assert {row["type"] for row in results["by_type"]} == kinds
    assert set(results["attack_success_rate"]) == {"baseline", "treated", "random control"}
    page = (folder.path / "report.html").read_text()
    assert "<h2>By type of prompt</h2>" in page
    assert "<h2>Attack success rate</h2>" in page
    titles = [str(each.title) for each in evaluation_tables(results) if isinstance(each, Table)]
    assert "Refusal by type of prompt" in titles
    assert "Replies to harmful prompts (attack success rate: coherent compliance)" in titles
    assert rederive(RunFolder.open(folder.path)) == []
