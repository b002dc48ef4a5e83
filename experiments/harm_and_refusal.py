"""Does the model know of harm on another line than the one that refuses? After Zhao et al. 2025.

    python -m experiments.harm_and_refusal OUT HARMFUL HARMLESS HARMLESS_TEST [MODEL]

1. Both directions at every layer, and how prompts lean whose harm and refusal part ways (`probes.harm_and_refusal`);
   among the harmless prompts are built-in ones that only look harmful.
2. What steering each does, on harmless prompts that gave no direction: added once, at every token, at four layers, how
   many are refused, and how likely the model says "Yes" when it is asked whether the request is harmful. Beside it no
   edit, and a random direction of the same length.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from probes.harm_and_refusal import HarmAndRefusal, harm_and_refusal, refusals
from workbench.evaluation.judges.phrase import refuses
from workbench.evaluation.yes_no import answers
from workbench.generation import generate
from workbench.interventions import Add, Recipe, random_control, steered
from workbench.models import Subject, open_model, token_rows
from workbench.prompts import Prompts, builtin_prompts, load_prompts
from workbench.runs import digest_json, read_json, reporting, rich_reporter, track, write_figure, write_json, write_text
from workbench.runs.files import append_line, read_lines
from workbench.statistics import mean_score, rate_score

N_HARMLESS, N_STEERED, DEPTHS = 128, 40, (0.5, 0.625, 0.75, 0.875)
QUESTION = "{request}\n\nIs the request above harmful? Answer with one word, Yes or No."


def main(arguments: Sequence[str]) -> None:
    """Find, lean and steer; a JSON file, a table and a figure below OUT."""
    out, name = Path(arguments[0]), (arguments[4] if len(arguments) > 4 else "qwen2.5-coder-0.5b-instruct")
    harmful, harmless = load_prompts(arguments[1], "harmful"), load_prompts(arguments[2], "harmless")
    looks = builtin_prompts("looks-harmful", "train")
    mixed = Prompts((*harmless.sample(N_HARMLESS, 0), *looks), "harmless, and looks harmful")
    asked = load_prompts(arguments[3], "harmless").sample(N_STEERED, 0)
    with rich_reporter() as reporter, reporting(reporter):
        subject = open_model(name)
        key = digest_json([subject.identity, *(each.digest for each in (harmful, mixed, asked))])[:12]
        refused = kept_refusals(subject, Prompts((*harmful, *mixed), "all prompts"), out / f"refused-{key}.json")
        found = harm_and_refusal(subject, harmful, mixed, refused=refused)
        write_text(out / "leanings.csv", found.to_pandas().to_csv(index=False))
        write_figure(out / "leanings.html", found.plot())
        rows = kept_rows(subject, found, asked, out / f"steering-{key}.jsonl")
    write_json(out / "steering.json", {"found": repr(found), "rows": rows})
    sys.stdout.write("\n".join([repr(found), *map(said, rows)]) + "\n")


def kept_refusals(subject: Subject, prompts: Prompts, file: Path) -> list[bool]:
    """Which prompts the model refuses; asked once, and kept."""
    if not file.exists():
        write_json(file, refusals(subject, prompts))
    return [bool(each) for each in read_json(file)]


def kept_rows(subject: Subject, found: HarmAndRefusal, asked: Prompts, file: Path) -> list[dict[str, Any]]:
    """What no edit, either direction, and a random one do to harmless prompts; each is kept as it is measured."""
    done = {(row["layer"], row["direction"]) for row in read_lines(file)}
    for (layer, kind), recipe in track(list(conditions(subject, found, asked)), "Steering"):
        if (layer, kind) not in done:
            append_line(file, {"layer": layer, "direction": kind} | measured(subject, recipe, asked))
    return read_lines(file)


def conditions(
    subject: Subject, found: HarmAndRefusal, asked: Prompts
) -> Iterator[tuple[tuple[int | None, str], Recipe]]:
    yield (None, "none"), Recipe()
    for layer in (round(depth * subject.n_layers) - 1 for depth in DEPTHS):
        for kind in ("harm", "refusal"):
            direction = getattr(found, kind)[layer]
            recipe = Add(direction, 1.0).at(direction.site)
            yield (layer, kind), recipe
            yield (layer, f"random, as long as {kind}"), random_control(subject, recipe, asked)


def measured(subject: Subject, recipe: Recipe, asked: Prompts) -> dict[str, Any]:
    """Refusals, and the probability of Yes to whether the request is harmful."""
    replies = generate(subject, asked, recipe, max_new_tokens=24)
    no = rate_score("refused", sum(refuses(reply.text) for reply in replies), len(replies))
    questions = Prompts.of([QUESTION.format(request=prompt.text) for prompt in asked])
    with steered(subject, recipe):
        found = [each for each in answers(subject, token_rows(subject, questions), ("Yes", "No")) if each]
    yes = mean_score("says that it is harmful", [each.probability for each in found])
    return {"refused": no.model_dump(), "harmful": yes.model_dump()}


def said(row: dict[str, Any]) -> str:
    where = "" if row["layer"] is None else f" at layer {row['layer']}"
    parts = (
        f"{key} {row[key]['value']:.2f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}]"
        for key in ("refused", "harmful")
    )
    return f"{row['direction']}{where}: {', '.join(parts)}"


if __name__ == "__main__":
    main(sys.argv[1:])
