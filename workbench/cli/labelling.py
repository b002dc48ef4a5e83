"""workbench concepts label"""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching

if TYPE_CHECKING:
    from workbench.models import Subject


def command(
    model: o.Model,
    texts: Annotated[str, typer.Option(help="A file of texts, as prompts are read.")],
    out: Annotated[Path, typer.Option("--out", help="The labelled .jsonl file to write, for --concepts.")],
    concept: Annotated[list[str] | None, typer.Option(help="NAME=DESCRIPTION; the model is asked.")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER, a feature of --sae.")] = None,
    sae: Annotated[Path | None, typer.Option(help="A sparse autoencoder's .safetensors file.")] = None,
    site: Annotated[str | None, typer.Option(help="Where the autoencoder reads, e.g. 12.resid_post.")] = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Label texts for concepts, by asking the model or by features of a sparse autoencoder."""
    with watching():
        from collections import Counter

        from workbench.errors import UsageError
        from workbench.runs import write_text

        reads = (feature, sae, site)
        if not (concept or all(reads)) or (concept and any(reads)):
            raise UsageError("Give --concept NAME=DESCRIPTION, or --sae FILE, --site SITE and --feature NAME=NUMBER.")
        said = tuple(prompt.text for prompt in o.read_set(texts, "harmless"))
        subject = o.open_subject(model, dtype, device)
        rows = _labels(subject, said, concept, feature, sae, site)
        write_text(out, "".join(f"{dumps(row, ensure_ascii=False)}\n" for row in rows))
    counts = Counter((row["concept"], row["label"]) for row in rows)
    names = dict.fromkeys(row["concept"] for row in rows)
    found = {name: {"shown": counts[name, True], "not shown": counts[name, False]} for name in names}
    lines = [[name, str(row["shown"]), str(row["not shown"])] for name, row in found.items()]
    title = f"Labels of {len(said)} texts, in {out}"
    show(
        {"file": str(out), "texts": len(said), "labels": found}, json, table(title, ("concept", "shown", "not"), lines)
    )


def _labels(
    subject: "Subject", texts: tuple[str, ...], concept: list[str] | None, feature: list[str] | None,
    sae: Path | None, site: str | None,
) -> list[dict[str, Any]]:  # fmt: skip
    from workbench.concepts import asked_labels, feature_labels
    from workbench.directions import SparseAutoencoder
    from workbench.models import Site

    if concept:
        return asked_labels(subject, texts, dict(_halves(each) for each in concept))
    assert feature
    assert sae
    assert site
    numbers = {name: _whole(number) for name, number in map(_halves, feature)}
    return feature_labels(subject, texts, SparseAutoencoder.load(sae), Site.parse(site), numbers)


def _halves(text: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    return name.strip(), rest.strip()


def _whole(text: str) -> int:
    from workbench.errors import UsageError

    if not text.isdecimal():
        raise UsageError(f"{text!r} is no feature; give NAME=NUMBER.")
    return int(text)
