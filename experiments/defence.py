"""Can a model be made harder to abliterate? Each defence, attacked by the same search and by the least damage.

1. Train each defence on the training prompts as an adapter, merged into a folder; "none" trains nothing.
2. Attack each model in two ways, on the same training prompts: `find` and ablate everywhere; `minimise`.
3. Ask test prompts that neither the training nor the attacks saw, without an attack and under each.
4. Hold every defence against the undefended model under the same attack, prompt by prompt, corrected for all of them.

What is left to ablate is the fall in refusal and what coherent compliance rises to; what the defence costs is refusal
of harmless prompts, of harmless ones that look harmful, and the KL from the undefended model.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

from experiments.experiment import Answer, Harmful, Harmless, OneModel
from experiments.journal import journalled
from workbench.directions import Direction
from workbench.evaluation import Settings as Asked
from workbench.evaluation import measure, unseen
from workbench.evaluation.comparison import values_of
from workbench.evaluation.suites import Suite
from workbench.generation import kl_divergence
from workbench.interventions import Ablate, Recipe
from workbench.models import Subject, open_model, token_rows
from workbench.plots import Figure
from workbench.plots.compared import compared_figure
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, note
from workbench.search import SearchSettings, record_find
from workbench.statistics import Difference, Score, holm, paired_difference
from workbench.studies import MinimiseSettings, record_minimise
from workbench.studies.defence import DefenceSettings, train_defence
from workbench.studies.minimise.lessons import last_logits
from workbench.studies.parts import Valued

SUITE = Suite(("harmful", "harmless", "looks-harmful"), ())
MEASURES = ("refusal", "compliance", "broken")
NONE, ROWS, KL = "none", "defences.jsonl", "harmless/first_token_kl"
CONDITIONS = ("as it is", "ablated", "least damage")
ATTACKS = ("find", "minimise")  # runs of their own, named after the defence
TOLD = {
    "harmful refused": "harmful/refusal", "harmful complied": "harmful/compliance",
    "harmless refused": "harmless/refusal", "looks harmful refused": "looks-harmful/refusal",
}  # fmt: skip


class Settings(OneModel):
    """Prompts of both parts, what each defence is taught, what each attack sees, and how many prompts are asked."""

    train_harmful: Harmful
    train_harmless: Harmless
    train_looks_harmful: Harmless
    test_harmful: Harmful
    test_harmless: Harmless
    test_looks_harmful: Harmless
    defences: tuple[str, ...]
    taught_steps: int
    n_harmless: int
    n_looks_harmful: int
    n_search: int
    n_search_val: int
    n_minimise: int
    n_minimise_val: int
    minimise_steps: int
    n_test: int
    max_new_tokens: int


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Train, attack and ask, one model after another; what was finished before a stop is kept."""
    methods = (NONE, *settings.defences)
    cases = {method: partial(measured, method, settings, prompts, folder) for method in methods}
    rows = journalled(folder.path / ROWS, cases, "Defending")
    items = {name: each for row in rows.values() for name, each in row["values"].items()}
    values = tuple(
        Valued(name=name, kind="mean" if name.endswith(KL) else "rate", values=tuple(each.values()))
        for name, each in items.items()
    )
    scores = {each.name: each.score for each in values}
    runs = tuple(RunFolder.open(folder.path / f"{method}-{attack}") for method in methods for attack in ATTACKS)
    changes = differences(settings.defences, items)
    said = "; ".join(told(method, scores, changes) for method in methods)
    results = {"defences": list(methods), "differences": [each.model_dump() for each in changes]}
    return Answer(said, drawn(methods, scores), results, runs, values)


def differences(defences: Sequence[str], items: Mapping[str, Mapping[str, float]]) -> list[Difference]:
    """Refusal of harmful prompts, defended less undefended, under each attack; Holm over all."""
    found = []
    for defence, condition in product(defences, CONDITIONS):
        before, after = (items[f"{named(method, condition)}/harmful/refusal"] for method in (NONE, defence))
        both = [key for key in before if key in after]
        one, other = ([side[key] for key in both] for side in (before, after))
        found.append(paired_difference(named(defence, condition), one, other, "rate"))
    return holm(found)


def measured(
    method: str, settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder
) -> dict[str, dict[str, dict[str, float]]]:
    """What one defence leaves to ablate, and costs: a value for each prompt, by its digest."""
    base, train = settings.subject, ContrastPairs(prompts["train_harmful"], prompts["train_harmless"])
    subject = base if method == NONE else defended(method, settings, prompts, folder)
    note(f"{method}: attacking")
    recipes = (Recipe(), *attacks(method, subject, settings, train, folder))
    conditions = {named(method, condition): each for condition, each in zip(CONDITIONS, recipes, strict=True)}
    asked = held_out(settings, prompts)
    how = Asked(settings.max_new_tokens)
    found = measure(subject, conditions, asked, settings=how, suite=SUITE, folder=folder)
    values = {
        f"{part.condition}/{part.asked}/{name}": dict(values_of(part.observed().items, name))
        for part in found.measured
        for name in MEASURES
    }
    digests = [prompt.digest for prompt in asked["harmless"]]
    apart = dict(zip(digests, distances(base, subject, asked["harmless"]), strict=True))
    return {"values": values | {f"{method}/{KL}": apart}}


def defended(method: str, settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Subject:
    """The model after the training, which is not done twice."""
    out, base = folder.path / f"{method}-model", settings.subject
    if not out.exists():
        fine = prompts["train_looks_harmful"].sample(settings.n_looks_harmful, 0)
        plain = prompts["train_harmless"].sample(settings.n_harmless, 0)
        taught = ContrastPairs(prompts["train_harmful"], Prompts((*plain, *fine), "harmless and looks-harmful"))
        n = settings.n_harmless + settings.n_looks_harmful  # as many refusals as answers
        train_defence(base, taught, out, DefenceSettings(method=method, steps=settings.taught_steps, n_train=n))
    return open_model(str(out), dtype=str(base.dtype).removeprefix("torch."))


def attacks(
    method: str, subject: Subject, settings: Settings, train: ContrastPairs, folder: RunFolder
) -> tuple[Recipe, Recipe]:
    """The paper's search, and the least damage, each from the training prompts alone."""
    search = SearchSettings(n_train=settings.n_search, n_val=settings.n_search_val, filtered=False, seed=0)
    least = MinimiseSettings(n_train=settings.n_minimise, n_val=settings.n_minimise_val, steps=settings.minimise_steps)
    rest = train.sample(400, 1)
    where = [folder.path / f"{method}-{attack}" for attack in ATTACKS]
    found = record_find(subject, train, settings=search, out=where[0])
    minimised = record_minimise(subject, train, rest, settings=least, out=where[1])
    return Ablate(Direction.load(found.path)).at("all"), Recipe.load(minimised.path / "recipe.json")


def held_out(settings: Settings, prompts: Mapping[str, Prompts]) -> dict[str, Prompts]:
    """Test prompts without any of the training prompts."""
    seen = {each.digest for name in prompts if name.startswith("train") for each in prompts[name]}
    test = {name: prompts[f"test_{name.replace('-', '_')}"] for name in SUITE.sets}
    held = unseen(test, [], seen, "the defences and the attacks were trained on them")
    most = dict.fromkeys(("harmful", "harmless"), settings.n_test)
    return {name: side.sample(most.get(name, len(side)), 0) for name, side in held.items()}


def distances(base: Subject, subject: Subject, prompts: Prompts) -> list[float]:
    """KL from the undefended model at the first token of the reply to each prompt."""
    before, after = (last_logits(each, token_rows(each, prompts), 32) for each in (base, subject))
    return [float(kl_divergence(one[None], other[None])) for one, other in zip(before, after, strict=True)]


def named(method: str, condition: str) -> str:
    return f"{method}, {condition}"


def told(method: str, scores: Mapping[str, Score], changes: Sequence[Difference] = ()) -> str:
    """What harmful prompts get without an attack and under each, against the undefended model, and what it costs."""
    against = {each.name: f", {each.says} than undefended (p {each.adjusted:.2g})" for each in changes}
    rates = [
        f"{condition} {scores[f'{named(method, condition)}/harmful/refusal'].percent} refused"
        f"{against.get(named(method, condition), '')}, "
        f"{scores[f'{named(method, condition)}/harmful/compliance'].percent} complied "
        f"(n={scores[f'{named(method, condition)}/harmful/refusal'].n})"
        for condition in CONDITIONS
    ]
    plain = scores[f"{named(method, CONDITIONS[0])}/harmless/refusal"]
    cost = f"harmless refused {plain.percent}, KL {scores[f'{method}/{KL}'].format('.2f')}"
    return f"{method}: harmful {'; '.join(rates)}; {cost} (n={plain.n})"


def drawn(methods: tuple[str, ...], scores: Mapping[str, Score]) -> Figure:
    """What becomes of requests by defence and attack; the undefended model is what all are held against."""
    conditions = [named(method, condition) for method in methods for condition in CONDITIONS]
    series: dict[str, list[Score | None]] = {
        f"{title} (n={scores[f'{conditions[0]}/{name}'].n})": [scores[f"{each}/{name}"] for each in conditions]
        for title, name in TOLD.items()
    }
    return compared_figure(conditions, series, "Replies (%)", percent=True)
