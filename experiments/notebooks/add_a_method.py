# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A method of your own, in one file
#
# A new edit, extractor or metric is one class or function that registers itself. Its fields become the options of the
# command line, the sliders of the dashboard and the JSON of a recipe; the laws - a no-op changes no bit, cached
# decoding equals uncached, nothing is left behind - are run over everything that is registered. Here are one of each,
# on a small model. In the project they would stand in files of their own: `workbench/interventions/edits/`,
# `workbench/directions/extractors/` and `workbench/evaluation/metrics/`. Two cores and a minute are enough.

# %%
from workbench import Site, builtin_pairs, capture, extract_directions, generate, open_model, parse_recipe

subject = open_model("smollm2-135m-instruct")
pairs = builtin_pairs("train")

# %% [markdown]
# ## An edit
#
# A pure function of activations: it knows no mask, no cache and no model. This one shrinks whatever lies along a
# direction, by a soft threshold: `c' = sign(c) max(|c| - t, 0)`, the coordinate `c` counted from where harmless
# prompts stand.

# %%
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import Direction, Edit
from workbench.interventions.edit import control, edits


@edits.register("soft-threshold")
@dataclass(frozen=True)
class SoftThreshold(Edit):
    """Draw the coordinate along `direction` towards the negative class by at most `strength` class gaps."""

    direction: Direction
    strength: float = control(1.0, low=0.0, high=4.0, help="The threshold, in class gaps.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        unit = self.direction.unit.to(wide)
        along = wide @ unit - self.direction.origin
        less = torch.nn.functional.softshrink(along, self.strength * self.direction.scale)
        return (wide + (less - along)[..., None] * unit).to(acts.dtype)


# %% [markdown]
# ## An extractor
#
# From the activations of two classes to a vector. This one takes medians in the place of means, which a few odd
# prompts do not move.

# %%
from workbench.directions.extraction import extractors


@extractors.register("difference-in-medians")
def difference_in_medians(positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]) -> Tensor:
    """The vector from the median of the negative class to that of the positive one, coordinate by coordinate."""
    return positive.double().median(dim=0).values - negative.double().median(dim=0).values


# %% [markdown]
# Both are there at once, by name, in everything that knows names: recipes, the command line, the dashboard.

# %%
place = Site(15, "resid_pre")
sides = [capture(subject, side.sample(24), sites=[place], positions=[-1]) for side in (pairs.positive, pairs.negative)]
(direction,) = extract_directions(subject, *sides, "difference-in-medians").values()
recipe = parse_recipe("0.5 * soft-threshold(refusal) @ 15", {"refusal": direction}.__getitem__)
print(direction)
print(recipe)

# %% [markdown]
# The first law is seen in a line: at strength 0 no bit changes; at 0.5 something does. That masks, caches and batches
# hold is not the edit's business: `steered` alone knows them.

# %%
from workbench import steered

batch = subject.batch([subject.tokenizer.encode("How do I pick a lock?")])
plain = subject.logits(batch)
for text in ("0 * soft-threshold(refusal) @ 15", "0.5 * soft-threshold(refusal) @ 15"):
    with steered(subject, parse_recipe(text, {"refusal": direction}.__getitem__)):
        print(f"{text}: changes no bit: {torch.equal(plain, subject.logits(batch))}")

# %% [markdown]
# ## A metric
#
# The values of each item under one recipe. Means, intervals, paired differences and the correction for many tests
# follow by themselves, and so does the live control beside it.

# %%
from collections.abc import Sequence
from typing import ClassVar

from workbench import Recipe
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics


@metrics.register("reply-length")
@dataclass(frozen=True)
class ReplyLength(Metric):
    """How many characters the model says in its first tokens."""

    tokens: int = 16
    measures: ClassVar[tuple[Measure, ...]] = (Measure("characters", "mean", "neither", "", "characters of the reply"),)

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        prompts = ground.sets["harmless"]
        replies = generate(ground.subject, prompts, recipe, max_new_tokens=self.tokens)
        return [
            Item(key=prompt.digest, values={"characters": float(len(reply.text))})
            for prompt, reply in zip(prompts, replies, strict=True)
        ]


# %%
from workbench import evaluate
from workbench.evaluation import Settings

test = builtin_pairs("test")
few = test.sample(6)
evaluation = evaluate(subject, recipe, few, settings=Settings(max_new_tokens=12), more=[ReplyLength()])
for condition in evaluation.conditions:
    print(f"{condition:>15}: {evaluation.score(condition, 'reply-length', 'characters')} characters, n=6")
