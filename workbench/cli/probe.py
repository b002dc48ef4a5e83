"""workbench probe train | sweep | monitor"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import monitor
from workbench.cli import options as o
from workbench.cli.display import interval, kept, percent, show, table, told_of, watching

if TYPE_CHECKING:
    from workbench.activations import Positions
    from workbench.prompts import ContrastPairs

app = typer.Typer(name="probe", help="Linear probes: what a model's activations tell.", no_args_is_help=True)
app.command("monitor")(monitor.command)

Harmful = o.Positive
Harmless = o.Negative
Count = Annotated[int, typer.Option(min=2, help="Prompts of each side, drawn evenly over the categories.")]
Folds = Annotated[int, typer.Option(min=2, help="Folds; no topic is in two.")]
Folder = Annotated[Path | None, typer.Option("--out", help="A folder for what was found.")]
Apart = Annotated[str | None, typer.Option(help="Prompts to report on, as above; may be a test part.")]
_SHOWN = 12  # places in the table


@app.command("train")
def train(
    model: o.Model,
    harmful: Harmful = "harmful:train",
    harmless: Harmless = "harmless:train",
    n: Count = 256,
    site: Annotated[str | None, typer.Option(help="Where, e.g. 12.resid_post; default: the middle block.")] = None,
    position: o.Position = -1,
    method: Annotated[str, typer.Option(help="A registered method, such as logistic, mass-mean or lda.")] = "logistic",
    folds: Folds = 5,
    false_alarms: Annotated[float, typer.Option(min=0, max=0.99, help="Rate that the threshold is set for.")] = 0.01,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Folder = None,
    json: o.Json = False,
) -> None:
    """Fit a probe at one place, measured on topics that it has not seen, beside its controls."""
    with watching():
        from probes.linear import ProbeSettings, train_probe
        from probes.linear.method import methods
        from workbench.models import Site

        made, how = methods[method](), ProbeSettings(folds=folds, false_alarms=false_alarms, seed=seed)
        pairs, subject = _drawn(harmful, harmless, n, seed), o.open_subject(model, dtype, device)
        place = Site.parse(site) if site else Site(subject.n_layers // 2, "resid_post")
        found = train_probe(subject, pairs, place, position=position, method=made, settings=how, batch_size=batch_size)
        results: dict[str, Any] = {
            "model": subject.identity, "prompts": pairs.digest, "n": [len(pairs.positive), len(pairs.negative)],
            "settings": how.model_dump(), "digest": found.digest, "threshold": found.alarm, "says": repr(found),
        } | found.described()  # fmt: skip
        if out is not None:
            from probes.linear.probe import FILE

            results["files"] = [str(found.save(out / FILE)), *kept(out, "probe", results, {})]
    show(results, json, *train_tables(results), *told_of(results.get("files")))


@app.command("sweep")
def sweep(
    model: o.Model,
    harmful: Harmful = "harmful:train",
    harmless: Harmless = "harmless:train",
    n: Count = 256,
    report_harmful: Apart = None,
    report_harmless: Apart = None,
    positions: Annotated[str | None, typer.Option(help="E.g. -1,-2; default: the template's after the text.")] = None,
    folds: Folds = 5,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Folder = None,
    json: o.Json = False,
) -> None:
    """Probe every layer, stream and position; the best place is reported on prompts that did not choose it."""
    with watching():
        from probes.linear import ProbeSettings, sweep_probes

        how, report = ProbeSettings(folds=folds, seed=seed), _report(report_harmful, report_harmless)
        pairs, subject = _drawn(harmful, harmless, n, seed), o.open_subject(model, dtype, device)
        where: Positions = o.numbers(positions, "--positions") or "post_instruction"
        found = sweep_probes(subject, pairs, report=report, positions=where, settings=how, batch_size=batch_size)
        results: dict[str, Any] = {
            "model": subject.identity, "prompts": pairs.digest, "reported_on": report.digest if report else None,
            "settings": how.model_dump(), "says": repr(found),
        } | found.to_json()  # fmt: skip
        if out is not None:
            results["files"] = kept(out, "sweep", results, {"sweep": found.plot()})
    show(results, json, *sweep_tables(results), *told_of(results.get("files")))


def _drawn(harmful: str, harmless: str, n: int, seed: int) -> "ContrastPairs":

    whole = o.read_sides(harmful, harmless)
    return whole.sample(n, seed)


def _report(harmful: str | None, harmless: str | None) -> "ContrastPairs | None":
    from workbench.errors import UsageError

    if harmful is None and harmless is None:
        return None
    if harmful is None or harmless is None:
        raise UsageError("Give both --report-harmful and --report-harmless, or neither.")
    return o.read_sides(harmful, harmless)


def train_tables(results: Mapping[str, Any]) -> list[Any]:
    """The probe's AUROC above its controls', and what its threshold does."""
    quality = results["quality"]
    rows = [["this probe", interval(quality["auroc"]), ""]]
    rows += [[name, interval(score), interval(quality["gains"][name])] for name, score in quality["controls"].items()]
    asked = f"asked {100 * quality['rate_asked']:g} %, set on other folds"
    kept = [
        ["detected", percent(quality["detected"]), str(quality["detected"]["n"])],
        [f"false alarms ({asked})", percent(quality["false_alarms"]), str(quality["false_alarms"]["n"])],
        ["calibration error", interval(quality["calibration_error"]), str(quality["calibration_error"]["n"])],
    ]
    title = f"On topics not seen (n={quality['auroc']['n']} in {quality['topics']} topics, 95 %)"
    said = (
        [f"Its control reads as much, for all that n={quality['auroc']['n']} shows: " + ", ".join(results["as_good"])]
        if results["as_good"]
        else []
    )
    return [
        table(title, ("reads", "AUROC", "the probe's gain"), rows),
        table("Threshold", ("measure", "value", "n"), kept),
        *said,
    ]


def sweep_tables(results: Mapping[str, Any]) -> list[Any]:
    """The best places, and what the best one reads on prompts apart."""
    ranked = sorted(results["rows"], key=lambda row: -row["auroc"])[:_SHOWN]
    rows = [
        [row["site"], str(row["position"]), interval(row | {"value": row["auroc"]}), f"{row['shuffled']:.3f}"]
        for row in ranked
    ]
    title = f"The best of {len(results['rows'])} places on folds of topics (n={ranked[0]['n']}, 95 %)"
    apart = [["this place", interval(results["reported"]), ""]]
    apart += [[name, interval(score), interval(results["gains"][name])] for name, score in results["controls"].items()]
    best = results["best"]
    return [
        table(title, ("site", "position", "AUROC", "shuffled labels"), rows),
        f"The highest of all places with shuffled labels: {results['shuffled_best']:.3f}",
        table(
            f"{best['site']}, position {best['position']}, on prompts apart (n={results['reported']['n']}, 95 %)",
            ("reads", "AUROC", "the place's gain"), apart,
        ),
    ]  # fmt: skip
