"""workbench minimise"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, percent, show, table, watching
from workbench.cli.evaluations import evaluation_tables

if TYPE_CHECKING:
    from workbench.models import Subject
    from workbench.runs import RunFolder

Trials = Annotated[
    int, typer.Option("--second-opinion", min=0, help="Trials of Optuna's TPE over the same strengths; 0: none.")
]
Fixed = Annotated[
    bool, typer.Option("--fixed-directions", help="Learn strengths alone, along each layer's difference in means.")
]
NoTest = Annotated[bool, typer.Option("--no-test", help="Leave the locked test prompts closed.")]


def command(
    model: o.Model,
    harmful: Annotated[str, typer.Option(help="Harmful training prompts: a set or a file.")] = "harmful:train",
    harmless: Annotated[str, typer.Option(help="Harmless training prompts: a set or a file.")] = "harmless:train",
    harmful_val: Annotated[str, typer.Option(help="Harmful prompts to choose on.")] = "harmful:val",
    harmless_val: Annotated[str, typer.Option(help="Harmless prompts to choose on.")] = "harmless:val",
    harmful_test: Annotated[str, typer.Option(help="Harmful test prompts, opened at the end.")] = "harmful:test",
    harmless_test: Annotated[str, typer.Option(help="Harmless test prompts, opened at the end.")] = "harmless:test",
    budget: Annotated[float, typer.Option(help="Mean first-token KL on harmless prompts, in nats.")] = 0.05,
    margin: Annotated[float, typer.Option(help="How far below 0 refusal's log-odds are pushed.")] = 3.0,
    steps: Annotated[int, typer.Option(min=1, help="Steps down the gradient.")] = 24,
    fixed_directions: Fixed = False,
    trials: Trials = 0,
    n_train: Annotated[int, typer.Option(min=2, help="Training prompts of each kind.")] = 128,
    n_val: Annotated[int, typer.Option(min=2, help="Validation prompts of each kind.")] = 64,
    n_test: Annotated[int | None, typer.Option(min=1, help="Test prompts of each kind; default: all.")] = None,
    no_test: NoTest = False,
    max_new_tokens: o.Tokens = 64,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """The weight edit that removes refusal at the least damage, by gradient; judged on locked test prompts."""
    with watching():
        from workbench.studies import MinimiseSettings, record_minimise

        train, validation = o.read_sides(harmful, harmless), o.read_sides(harmful_val, harmless_val)
        chosen = MinimiseSettings(
            budget=budget, margin=margin, steps=steps, learn_directions=not fixed_directions, trials=trials,
            n_train=n_train, n_val=n_val, batch_size=batch_size, seed=seed,
        )  # fmt: skip
        subject = o.open_subject(model, dtype, device)
        folder = record_minimise(subject, train, validation, settings=chosen, out=out)
        sides = None if no_test else (harmful_test, harmless_test)
        tested = sides and _tested(subject, folder, sides, n_test, max_new_tokens, batch_size, seed)
    results = folder.results() | {"run": str(folder.path), "timings": folder.manifest.timings}
    results |= {"test": tested and tested.results() | {"run": str(tested.path)}}
    where = f"The run is in {folder.path} (front.html, recipe.json); --recipe {folder.path} applies it."
    show(results, json, *minimise_tables(results), *(evaluation_tables(results["test"]) if tested else []), where)


def _tested(
    subject: "Subject", folder: "RunFolder", sides: tuple[str, str], n: int | None, tokens: int, size: int, seed: int
) -> "RunFolder":
    """The recipe on prompts that nothing of it has seen: replies, and KL over the positions of the base's replies."""
    from workbench.evaluation import Settings, record_evaluation, unseen
    from workbench.evaluation.metrics.divergence import Divergence
    from workbench.interventions import Recipe

    recipe = Recipe.load(folder.path / "recipe.json")
    sets = unseen(o.read_sides(*sides), [recipe])
    return record_evaluation(
        subject,
        recipe,
        {name: side if n is None else side.sample(n, seed) for name, side in sets.items()},
        settings=Settings(tokens, size, seed),
        more=[Divergence()],
    )


def minimise_tables(results: Mapping[str, Any]) -> list[Any]:
    """The front, one row a point, and what was chosen of it."""
    front, settings = results["front"], results["settings"]
    rows = [_row(point, front, number) for number, point in enumerate(front["points"])]
    title = f"The front on validation prompts (n={front['points'][0]['kl']['n']} harmless)"
    columns = ("step", "begin as a refusal", "refusal metric", "KL, first token", "")
    asked = (
        f"a refusal metric of at most {-settings['margin']:g}, at most {settings['most_refused']:.0%} of replies that "
        f"begin as a refusal, and {settings['budget']:g} nats"
    )
    said = f"Chosen: step {front['chosen']}. {'It reaches' if front['reached'] else 'No point reaches'} {asked}."
    opinion = results["second_opinion"]
    more = []
    if opinion:
        best = opinion["best"]
        more = [
            f"Second opinion, {opinion['trials']} trials of TPE over the strengths in {opinion['seconds']:.0f} s: "
            f"refusals {percent(best['refused'])}, metric {interval(best['metric'])}, KL {interval(best['kl'])}."
        ]
    return [table(title, columns, rows), said, *more]


def _row(point: Mapping[str, Any], front: Mapping[str, Any], number: int) -> list[str]:
    mark = "chosen" if point["step"] == front["chosen"] else "front" if number in front["best"] else ""
    return [str(point["step"]), percent(point["refused"]), interval(point["metric"]), interval(point["kl"]), mark]
