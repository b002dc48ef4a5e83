"""Can a model be made harder to abliterate? Each defence, attacked by the same search and by the least damage.

    python -m experiments.defence OUT HARMFUL HARMLESS HARMFUL_TEST HARMLESS_TEST [MODEL]

1. Train each defence on the training prompts as an adapter, merged into a folder below OUT; "none" trains nothing.
2. Attack each model in two ways, on the same training prompts: `find` and ablate everywhere; `minimise`.
3. Ask test prompts that neither the training nor the attacks saw, without an attack and under each.

What is left to ablate is the fall in refusal and what coherent compliance rises to; what the defence costs is refusal
of harmless prompts, of harmless ones that look harmful, and the KL from the undefended model.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.evaluation import Settings
from workbench.evaluation.measuring import measure
from workbench.evaluation.suites import Suite
from workbench.generation import kl_divergence
from workbench.interventions import Ablate, Recipe
from workbench.models import Subject, open_model, token_rows
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts, load_prompts
from workbench.runs import note, reporting, rich_reporter, write_json
from workbench.search import SearchSettings, find_direction
from workbench.statistics import mean_score
from workbench.studies import MinimiseSettings, minimise
from workbench.studies.defence import DefenceSettings, defences, train_defence
from workbench.studies.minimise.lessons import last_logits

N_TEST = 40
SUITE = Suite(("harmful", "harmless", "looks-harmful"), ())
MEASURES = ("refusal", "compliance", "broken")


def main(arguments: Sequence[str]) -> None:
    """Train, attack and ask; one JSON file a model, so that a run that was stopped goes on with the next."""
    out, name = Path(arguments[0]), (arguments[5] if len(arguments) > 5 else "qwen2.5-coder-0.5b-instruct")
    train = ContrastPairs(load_prompts(arguments[1], "harmful"), load_prompts(arguments[2], "harmless"))
    test = {
        "harmful": load_prompts(arguments[3], "harmful").sample(N_TEST, 0),
        "harmless": load_prompts(arguments[4], "harmless").sample(N_TEST, 0),
        "looks-harmful": builtin_prompts("looks-harmful", "test"),
    }
    with rich_reporter() as reporter, reporting(reporter):
        base = open_model(name)
        rows = [_row(base, each, train, test, out) for each in ("none", *defences)]
    sys.stdout.write("\n".join(_lines(rows)) + "\n")


def _row(base: Subject, method: str, train: ContrastPairs, test: dict[str, Prompts], out: Path) -> dict[str, Any]:
    """What one defence leaves to ablate, and costs."""
    done = out / f"{method}.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return found
    subject = base if method == "none" else _defended(base, method, train, out)
    note(f"{method}: attacking")
    conditions = {"baseline": Recipe(), **_attacks(subject, train)}
    evaluation = measure(subject, conditions, test, settings=Settings(48), suite=SUITE)
    names = [(condition, asked) for condition in conditions for asked in test]
    found = {
        "method": method,
        "scores": {
            f"{condition}/{asked}/{each}": evaluation.score(condition, asked, each).model_dump()
            for condition, asked in names
            for each in MEASURES
        },
        "kl": _distance(base, subject, test["harmless"]),
    }
    write_json(done, found)
    return found


def _defended(base: Subject, method: str, train: ContrastPairs, out: Path) -> Subject:
    folder = out / method
    if not folder.exists():
        fine = builtin_prompts("looks-harmful", "train")
        harmless = Prompts((*train.negative.sample(112, 0), *fine.sample(16, 0)), "harmless and looks-harmful")
        train_defence(base, ContrastPairs(train.positive, harmless), folder, DefenceSettings(method=method))
    return open_model(str(folder), dtype=str(base.dtype).removeprefix("torch."))


def _attacks(subject: Subject, train: ContrastPairs) -> dict[str, Recipe]:
    """The paper's search, and the least damage, each from the training prompts alone."""
    validation = ContrastPairs(*(side.sample(400, 1) for side in (train.positive, train.negative)))
    found = find_direction(subject, train, settings=SearchSettings(filtered=False, seed=0))
    settings = MinimiseSettings(n_train=96, n_val=32)
    least = minimise(subject, train, validation, settings=settings)
    return {"ablated": Ablate(found.direction).at("all"), "least damage": least.recipe}


def _distance(base: Subject, subject: Subject, prompts: Prompts) -> dict[str, Any]:
    """KL from the undefended model at the first token of replies to harmless prompts."""
    before, after = (last_logits(each, token_rows(each, prompts), 32) for each in (base, subject))
    kls = [float(kl_divergence(one[None], other[None])) for one, other in zip(before, after, strict=True)]
    return mean_score("KL, first token", kls, "lower").model_dump()


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = f"{'defence':<18}{'condition':<14}" + "".join(f"{each:>26}" for each in _COLUMNS)
    lines = [head]
    for row in rows:
        for condition in ("baseline", "ablated", "least damage"):
            cells = [row["scores"][f"{condition}/{asked}/{each}"] for asked, each in _COLUMNS.values()]
            said = "".join(f"{_percent(cell):>26}" for cell in cells)
            lines.append(f"{row['method']:<18}{condition:<14}{said}")
        lines.append(f"{'':<18}KL from the undefended model {row['kl']['value']:.3f}")
    return lines


_COLUMNS = {
    "harmful refused": ("harmful", "refusal"),
    "harmful complied": ("harmful", "compliance"),
    "harmless refused": ("harmless", "refusal"),
    "looks-harmful refused": ("looks-harmful", "refusal"),
}


def _percent(score: dict[str, Any]) -> str:
    return f"{100 * score['value']:.0f} % [{100 * score['low']:.0f}, {100 * score['high']:.0f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
