"""workbench concepts train | explain | data | discovered | search; steering and labelling are files of their own"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import concept_steering, labelling
from workbench.cli import options as o
from workbench.cli.display import interval, show, table, watching
from workbench.cli.generate import read_asked

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet

app = typer.Typer(
    name="concepts", help="A concept bottleneck: read, attribute and steer by concept.", no_args_is_help=True
)
app.command("steer")(concept_steering.command)
app.command("label")(labelling.command)

Set = Annotated[Path | None, typer.Option("--concepts", help="A folder of .toml concepts, or a labelled .jsonl file.")]


@app.command("train")
def train(
    model: o.Model,
    concepts: Set = None,
    site: Annotated[str | None, typer.Option(help="Where, e.g. 23.resid_post; default: the last stream.")] = None,
    discovered: Annotated[int, typer.Option(min=1, help="Discovered concepts.")] = 1024,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs at most.")] = 12,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Train a bottleneck on labelled texts; writes a run folder with what was measured on locked ones."""
    with watching():
        from workbench.concepts import ConceptSettings, record_bottleneck
        from workbench.models import Site

        chosen = _set(concepts)
        how = ConceptSettings(discovered=discovered, k_discovered=min(64, discovered), epochs=epochs, seed=seed)
        subject = o.open_subject(model, dtype, device)
        place = Site.parse(site) if site else None
        folder = record_bottleneck(subject, chosen, site=place, settings=how, out=out)
    results = folder.results() | {"run": str(folder.path), "timings": folder.manifest.timings}
    show(results, json, *train_tables(results), f"The bottleneck is in {folder.path}.")


@app.command("explain")
def explain(
    model: o.Model,
    bottleneck: o.Trained,
    prompt: o.Asked = None,
    prompts: o.Many = None,
    max_new_tokens: o.Tokens = 32,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the figures.")] = None,
    json: o.Json = False,
) -> None:
    """Let the model reply, and say what each concept added to every token."""
    with watching():
        from workbench.concepts import explain as explained

        asked = read_asked(prompt, prompts, None, "")
        found = explained(
            o.open_subject(model, dtype, device), o.bottleneck_of(bottleneck), asked, max_new_tokens=max_new_tokens
        )
        files = [file for number, each in enumerate(found) for file in _figures(each, number, out)]
    results = {"explanations": [each.to_json() for each in found], "figures": files}
    show(results, json, *explain_tables(results))


@app.command("data")
def data(
    model: o.Model,
    bottleneck: o.Trained,
    concept: Annotated[str, typer.Option(help="A known concept.")],
    prompt: o.Asked = None,
    prompts: o.Many = None,
    concepts: Set = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Training texts to show.")] = 10,
    max_new_tokens: o.Tokens = 32,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Which training texts informed a concept's part in a reply."""
    with watching():
        from workbench.concepts import informed_replies

        made, asked = o.bottleneck_of(bottleneck), read_asked(prompt, prompts, None, "")
        subject = o.open_subject(model, dtype, device)
        found, texts = informed_replies(subject, made, _set(concepts), asked, concept, max_new_tokens)
        results = found.to_json(texts, n)
    title = f"Training texts that informed {concept} most"
    lines = [[f"{row['gradient']:.3g}", f"{row['activation']:.2f}", str(row["text"])] for row in results["texts"]]
    show(results, json, table(title, ("by gradient", "by activation", "text"), lines))


@app.command("discovered")
def discovered(
    model: o.Model,
    bottleneck: o.Trained,
    concepts: Set = None,
    words: Annotated[
        str | None, typer.Option(help="Show those that fit these words, known concepts among them.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Concepts to show.")] = 20,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Name the discovered concepts by the tokens and texts where each is most active, and by the words it writes."""
    with watching():
        from workbench.concepts import discovered_in, search_concepts

        made, chosen = o.bottleneck_of(bottleneck), _set(concepts)
        found = discovered_in(o.open_subject(model, dtype, device), made, chosen)
        fits = search_concepts(words, chosen, found, n) if words else []
    rows = [vars(each) | {"name": each.name} for each in found]
    lines = [[f"#{d.number} {d.name}", f"{d.share:.1%}", ", ".join(d.read), (d.texts or ("",))[0][:60]] for d in found]
    shown = table("Discovered concepts", ("writes", "active at", "most at", "in"), lines[:n])
    close = table(f"Concepts that fit {words!r}", ("concept", "cosine"), [[name, f"{fit:.2f}"] for name, fit in fits])
    show({"discovered": rows, "found": dict(fits)}, json, close if words else shown)


@app.command("search")
def search(words: Annotated[str, typer.Argument(help="Words.")], concepts: Set = None, json: o.Json = False) -> None:
    """Known concepts that fit some words."""
    with watching():
        from workbench.concepts import search_concepts

        found = search_concepts(words, _set(concepts))
    rows = [[name, f"{fit:.2f}"] for name, fit in found]
    show({"found": dict(found)}, json, table(f"Concepts that fit {words!r}", ("concept", "cosine"), rows))


def _set(path: Path | None) -> "ConceptSet":
    from workbench.concepts import builtin_concepts, load_concepts

    return builtin_concepts() if path is None else load_concepts(path)


def _figures(found: Any, number: int, out: Path | None) -> list[str]:
    """The figures of an explanation, as files."""
    if out is None:
        return []
    from workbench.runs import write_figure

    likeliest = int(found.attribution.known.abs().sum(dim=1).argmax())
    plots = {"map": found.plot(), "shares": found.plot_shares(), "token": found.plot_token(likeliest)}
    out.mkdir(parents=True, exist_ok=True)
    files = {name: out / f"{number}-{name}.html" for name in plots}
    for name, figure in plots.items():
        write_figure(files[name], figure)
    return [str(file) for file in files.values()]


def train_tables(results: Mapping[str, Any]) -> list[Any]:
    """What was measured on test texts, and the concepts that are read worst and best."""
    scores = [[score["name"], interval(score), str(score["n"])] for score in results["scores"]]
    ranked = sorted(results["concepts"].items(), key=lambda item: item[1]["auroc"])
    ends = ranked if len(ranked) <= 12 else [*ranked[:6], *ranked[-6:]]
    rows = [[name, f"{row['auroc']:.2f}", f"{row['auroc_all']:.2f}", str(row["n"])] for name, row in ends]
    return [
        table("On test texts (means over concepts or tokens)", ("measure", "value", "n"), scores),
        table("Worst and best read", ("concept", "AUROC, near misses", "AUROC, all texts", "n"), rows),
    ]


def explain_tables(results: Mapping[str, Any]) -> list[Any]:
    """Shares, and the concepts that added most, of each reply."""
    found = []
    for each in results["explanations"]:
        shares = ", ".join(f"{name} {100 * value:.0f} %" for name, value in each["shares"].items())
        rows = [[name, f"{value:+.2f}"] for name, value in list(each["concepts"].items())[:10]]
        how = "exact" if each["exact"] else "of first order"
        title = f"{''.join(each['tokens'])[:80]!r}: {shares} ({how})"
        found.append(table(title, ("concept", "mean logits a token"), rows))
    return found
