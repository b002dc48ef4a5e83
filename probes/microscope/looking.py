"""Look at one text: where every token stands along a direction at every layer, and what each layer would say there.

1. The stream of the last tokens where it enters the first block and where it leaves each, as the model is and, where a
   recipe is given, under the recipe.
2. Its coordinate along a direction or a probe, in class gaps. Origin and gap are those of the direction's own site and
   position: elsewhere the number is the same projection in the same unit, and 0 is no class's mean.
3. A logit lens of each site: the likeliest tokens, and the probability of tokens that are followed.
4. The output after each token: the likeliest next tokens under either recipe, and the divergence between the two.

Everything is teacher-forced on the given text; a reply under the recipe may have gone another way.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes.lenses import Lens, LensMap, lens_logits, lens_map, lens_methods
from probes.lenses.lens import depth
from probes.lenses.readout import end_streams
from probes.microscope.seen import EDITED, PLAIN, NextToken, Seen, View
from workbench.directions.asset import Watchable
from workbench.errors import UsageError
from workbench.generation.divergence import kl_divergence
from workbench.interventions import Recipe
from workbench.models import Site, Subject
from workbench.prompts import Prompt, Prompts

TOP, NEXT = 5, 6
_FOLLOWED = "followed"


def look(
    subject: Subject,
    prompt: Prompt,
    watched: Watchable,
    followed: Sequence[int],
    *,
    recipe: Recipe | None = None,
    written: str = "",
    last: int = 16,
) -> Seen:
    """The `last` tokens of a prompt (and of the start of a reply, its prefill).

    `followed` are tokens whose probability is read at every layer; `written` is how the recipe is named. Raises
    DirectionError where the direction is of another model, UsageError where it is not of the stream's width.
    """
    watched.check_fits(subject)
    if watched.width != subject.d_model:
        raise UsageError(f"What is read at {watched.site} is {watched.width} wide, and the stream {subject.d_model}.")
    lens = lens_methods["logit"]().fit(subject)
    recipes = {PLAIN: Recipe()} | ({EDITED: recipe} if recipe else {})
    maps = {
        name: lens_map(subject, lens, prompt, {_FOLLOWED: tuple(followed)}, recipe=each, last=last, top=TOP)
        for name, each in recipes.items()
    }
    tokens = maps[PLAIN].tokens
    streams = {name: _streams(subject, lens, prompt, len(tokens), each) for name, each in recipes.items()}
    output = {name: lens_logits(subject, lens, each[:, -1], lens.sites[-1]) for name, each in streams.items()}
    return Seen(
        model=subject.identity, text=prompt.text, prefill=prompt.prefill, direction=repr(watched),
        site=str(watched.site), own=_own(watched.site), recipe=written or str(recipe or ""),
        followed=[_text(subject, token) for token in followed], tokens=list(tokens),
        depths=[depth(site) for site in lens.sites],
        views={name: _view(maps[name], watched.coordinate(streams[name])) for name in recipes},
        following=_following(subject, output),
        kl=_rounded(kl_divergence(output[EDITED], output[PLAIN])) if EDITED in output else None,
    )  # fmt: skip


def _streams(
    subject: Subject, lens: Lens, prompt: Prompt, n: int, recipe: Recipe
) -> Float[Tensor, "token site d_model"]:
    streams: Tensor = end_streams(subject, lens, Prompts((prompt,), "the text"), range(-n, 0), recipe)[0]
    return streams


def _view(read: LensMap, coordinate: Float[Tensor, "token site"]) -> View:
    values = read.read
    places, rows = range(len(read.sites)), range(len(read.tokens))
    return View(
        coordinate=_rounded(coordinate.T),
        top=[[list(read.likeliest[row][place]) for row in rows] for place in places],
        likely=_rounded(values.top_probability.transpose(0, 1)),
        probability=_rounded(values.probability[..., 0].T),
        rank=values.rank[..., 0].T.tolist(),
    )


def _following(subject: Subject, output: Mapping[str, Float[Tensor, "token vocab"]]) -> list[list[NextToken]]:
    """After each token, what is likeliest under any of the recipes, with its probability under all."""
    said = {name: logits.double().softmax(dim=-1) for name, logits in output.items()}
    found = []
    for row in range(len(next(iter(said.values())))):
        likely = torch.cat([each[row].topk(NEXT).indices for each in said.values()]).tolist()
        best = sorted(dict.fromkeys(likely), key=lambda token: -max(float(each[row, token]) for each in said.values()))
        found.append([
            NextToken(
                text=_text(subject, token), probability={n: _digits(float(e[row, token])) for n, e in said.items()}
            )
            for token in best
        ])  # fmt: skip
    return found


def _own(site: Site) -> int | None:
    """How many blocks the stream has passed where the direction was found."""
    passed = {"embed": 0, "resid_pre": site.layer, "resid_post": site.layer + 1}
    return passed.get(site.stream)


def _text(subject: Subject, token: int) -> str:
    return str(subject.tokenizer.decode([token]))


def _rounded(values: Tensor) -> list[Any]:
    """Nested lists of four digits, more than a picture shows."""
    return _each(values.double().tolist())


def _each(values: list[Any]) -> list[Any]:
    return [_each(value) if isinstance(value, list) else _digits(value) for value in values]


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
