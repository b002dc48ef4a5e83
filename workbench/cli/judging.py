"""Options that say who judges, and what they are made into."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from workbench.evaluation import Judge

Name = Annotated[
    str, typer.Option("--judge", help="Who calls outcomes: local, phrase, strongreject, llama-guard, harmbench.")
]
Model = Annotated[
    str | None, typer.Option("--judge-model", help="The model that a judge asks: a catalog name, folder or hub id.")
]
Url = Annotated[
    str | None, typer.Option("--judge-url", help="An OpenAI-compatible endpoint, which offers --judge-model.")
]


def make(name: str, model: str | None, url: str | None) -> "Judge":
    """The judge that the options name: what it asks, its fields say.

    Raises UsageError where it needs a model that is not named, or is given one that it has no use for.
    """
    from workbench.errors import UsageError
    from workbench.evaluation import judges, make_judge

    asks = {item.name for item in fields(judges[name])} & {"asker", "subject"}
    if not asks and (model or url):
        raise UsageError(f"The judge {name!r} asks no model; leave --judge-model and --judge-url out.")
    if asks and model is None:
        raise UsageError(f"The judge {name!r} asks a model: name it with --judge-model.")
    return make_judge(name, **(_asked(name, asks, model, url) if model else {}))


def _asked(name: str, asks: set[str], model: str, url: str | None) -> dict[str, Any]:
    from workbench.errors import UsageError
    from workbench.evaluation.asking import EndpointAsker, SubjectAsker
    from workbench.models.loading import open_model

    if "subject" in asks:
        if url:
            raise UsageError(f"The judge {name!r} reads a model's logits, which an endpoint does not give.")
        return {"subject": open_model(model)}
    return {"asker": EndpointAsker(url, model) if url else SubjectAsker(open_model(model))}
