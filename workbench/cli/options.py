"""Options that several commands share, and what they are made into."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workbench.concepts import Bottleneck
    from workbench.models import Subject
    from workbench.prompts import ContrastPairs, Prompts

Model = Annotated[str, typer.Argument(help="A catalog name, a hub id, a folder of safetensors, or a .gguf file.")]
EmbeddedModel = Annotated[str | None, typer.Argument(help="Default: the embedded model.")]
Positive = Annotated[str, typer.Option(help="Prompts that show the behaviour: a set or a file.")]
Negative = Annotated[str, typer.Option(help="Prompts that do not: a set or a file.")]
LooksHarmful = Annotated[str, typer.Option(help="Fine prompts that look harmful (full suite).")]
NTrain = Annotated[int, typer.Option(min=4, help="Train prompts of each side.")]
NVal = Annotated[int, typer.Option(min=4, help="Validation prompts of each side.")]
NoFilter = Annotated[bool, typer.Option("--no-filter", help="Keep prompts whatever the model says.")]
NoControls = Annotated[bool, typer.Option("--no-controls", help="Leave the random controls out.")]
Asked = Annotated[list[str] | None, typer.Option("--prompt", help="What to say; may be repeated.")]
Many = Annotated[str | None, typer.Option("--prompts", help="A set or a file of prompts.")]
Trained = Annotated[Path, typer.Option("--bottleneck", help="A `concepts train` run, or its file.")]
Prefill = Annotated[str, typer.Option(help="The start of the reply, to go on from.")]
Position = Annotated[int, typer.Option(max=-1, help="Which token, from the end of the prompt.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Out = Annotated[Path | None, typer.Option(help="Run folder to write; the same run is continued there.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; default: what is quick here.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the first that is there.")]
DeviceMap = Annotated[str | None, typer.Option(help="A transformers device map, such as auto (GPUs).")]
Quantisation = Annotated[str | None, typer.Option(help="4bit or 8bit, through bitsandbytes (GPUs).")]
Template = Annotated[Path | None, typer.Option("--chat-template", help="A Jinja file to use as chat template.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Prompts in one forward pass.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Tokens in a reply.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="A metric beside the suite's, by name; may be repeated.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**31, help="Seed of every draw.")]

_MOST_NUMBERS = 10_000  # in one range; more is a slip of the finger


def open_subject(
    model: str,
    dtype: str | None,
    device: str | None,
    device_map: str | None = None,
    quantisation: str | None = None,
    template: Path | None = None,
) -> "Subject":
    """Open the model that the options name."""
    from workbench.models.loading import open_model, read_chat_template

    return open_model(
        model,
        dtype=dtype,
        device=device,
        device_map=device_map,
        quantisation=quantisation,
        chat_template=read_chat_template(template) if template else None,
    )


def read_sides(harmful: str, harmless: str) -> "ContrastPairs":
    """Both sets."""
    from workbench.prompts import ContrastPairs, load_prompts

    return ContrastPairs(load_prompts(harmful, "harmful"), load_prompts(harmless, "harmless"))


def read_set(name: str, label: str) -> "Prompts":
    """One set; what only looks harmful is harmless."""
    from workbench.prompts import load_prompts

    return load_prompts(name, "harmless" if label == "looks-harmful" else label)


def bottleneck_of(path: Path) -> "Bottleneck":
    """The bottleneck of a run, or of a file."""
    from workbench.concepts import Bottleneck

    return Bottleneck.load(path)


def truthfulqa_from(path: Path | None) -> None:
    """Where TruthfulQA is, for the rest of this process."""
    from workbench.errors import UsageError

    if path is None:
        return
    if not path.is_file():
        raise UsageError(f"There is no file {path}; --truthfulqa is TruthfulQA.csv or mc_task.json.")
    os.environ["WORKBENCH_TRUTHFULQA"] = str(path)


def numbers(text: str | None, what: str) -> tuple[int, ...] | None:
    """Read `-1,-2` or `4-12,18` as numbers."""
    from workbench.errors import UsageError

    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-") if not part.strip().startswith("-") else (part, "", "")
            least, most = int(first), int(last) if dash else int(first)
            if not 0 <= most - least < _MOST_NUMBERS:
                raise ValueError(part)
            found.extend(range(least, most + 1))
    except ValueError:
        raise UsageError(f"{what} {text!r} cannot be read; write numbers such as 4,8,12 or 4-12 or -1,-2.") from None
    return tuple(dict.fromkeys(found))


def decimals(text: str | None, what: str) -> tuple[float, ...] | None:
    """Read `0.25,0.5,1` as numbers."""
    from math import isfinite

    from workbench.errors import UsageError

    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(isfinite, found)):
        raise UsageError(f"{what} {text!r} cannot be read; write numbers such as 0.25,0.5,1.")
    return found
