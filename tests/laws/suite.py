"""The laws, as functions of a Subject and a recipe-maker; the tests run them over models and registries."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.laws.cases import PROMPTS, SCOPES, a_recipe, an_edit, logits_of, same_bits, tokens_of
from workbench.errors import RecipeError
from workbench.generation import generate, stream
from workbench.interventions import Recipe, Schedule, steered
from workbench.models import Site, Subject, writers
from workbench.weights import compile_recipe, edited
from workbench.weights.certificates.rounding import rounded_anew

TOKENS = 6  # of a reply: two more than the schedules of the cases last
STEPS = 20  # of strength, from 0 to 1
PLACES = ["embed", "attn_out", "mlp_out"]  # those of the writers
Make = Callable[..., Recipe]  # make(seed=...)


def no_op(subject: Subject, edit: str) -> None:
    """1. Strength 0, a schedule of 0, an empty recipe and an empty window change no bit."""
    plain = logits_of(subject)
    nothing = [Recipe(), *(a_recipe(edit, subject, scope, strength=0.0) for scope in SCOPES)]
    windows = [a_recipe(edit, subject, scope) for scope in ("generated", "9000:9001", "first 3 no special")]
    sites = a_recipe(edit, subject).placements[0].sites
    nothing.append(an_edit(edit, subject).at(sites, schedule=Schedule(((0, 0.0), (5, 0.0)))))
    for recipe in [*nothing, *windows]:
        with steered(subject, recipe):
            assert same_bits(logits_of(subject), plain), f"{recipe} changed bits"
    with edited(subject, nothing[1]):
        assert same_bits(logits_of(subject), plain), f"{nothing[1]}, written into the weights, changed bits"
    assert tokens_of(generate(subject, PROMPTS, max_new_tokens=6)) == tokens_of(
        generate(subject, PROMPTS, Recipe(), max_new_tokens=6)
    )


def changes(subject: Subject, edit: str) -> None:
    """The laws would hold of an edit that does nothing: at strength 1 it must change the logits."""
    plain = logits_of(subject)
    with steered(subject, a_recipe(edit, subject)):
        assert not torch.equal(logits_of(subject), plain)


def cache(subject: Subject, make: Make) -> None:
    """2. Generation with a KV cache equals generation without."""
    recipe = make()
    quick = generate(subject, PROMPTS, recipe, max_new_tokens=TOKENS)
    slow = generate(subject, PROMPTS, recipe, max_new_tokens=TOKENS, cache=False)
    assert tokens_of(quick) == tokens_of(slow)


def batch(subject: Subject, make: Make) -> None:
    """3. Alone, in a padded batch, and beside other recipes: the same tokens."""
    recipe = make()
    together = tokens_of(generate(subject, PROMPTS, recipe, max_new_tokens=TOKENS))
    alone = [
        tokens_of(generate(subject, PROMPTS[i : i + 1], recipe, max_new_tokens=TOKENS))[0] for i in range(len(PROMPTS))
    ]
    mixed = tokens_of(generate(subject, PROMPTS, [recipe, make(seed=7), Recipe()], max_new_tokens=TOKENS))
    assert together == alone
    assert mixed[0] == alone[0]


def streams(subject: Subject, make: Make) -> None:
    """4. Streaming says what generating says, whatever else the batch holds; cancelling leaves nothing behind."""
    recipes = [make(), make(seed=7), Recipe()]
    whole = generate(subject, PROMPTS, recipes, max_new_tokens=TOKENS)
    with stream(subject, PROMPTS, recipes, max_new_tokens=TOKENS) as tokens:
        said = list(tokens)
    assert tokens_of(tokens.replies()) == tokens_of(whole)
    for row, reply in enumerate(whole):
        assert "".join(token.text for token in said if token.row == row) == reply.text
    with stream(subject, PROMPTS, recipes, max_new_tokens=TOKENS) as tokens:
        next(tokens)
        assert subject.bridge.list_hooks() == {}, "a hook rests on the model between two tokens"
    assert list(tokens) == []


def rows(subject: Subject, make: Make, changed: bool) -> None:
    """5. A recipe on one row changes no bit of another row.

    In a mixture of experts rows share an expert's product, whose rounding depends on how many tokens it is given.
    """
    plain = logits_of(subject)
    with steered(subject, [Recipe(), make(), Recipe()]):
        edited = logits_of(subject)
    if getattr(subject.bridge.original_model.config, "num_local_experts", None):
        torch.testing.assert_close(edited[[0, 2]], plain[[0, 2]], atol=2e-6, rtol=0)
    else:
        assert same_bits(edited[[0, 2]], plain[[0, 2]])
    assert not changed or not torch.equal(edited[1], plain[1])


def clean(subject: Subject, edit: str) -> None:
    """6. After the block, also after an exception, no hook is left and logits are those from before."""
    before = logits_of(subject)
    with pytest.raises(ZeroDivisionError), steered(subject, a_recipe(edit, subject)):
        logits_of(subject) / (1 // 0)
    assert subject.bridge.list_hooks() == {}
    with steered(subject, a_recipe(edit, subject)):
        logits_of(subject)
    assert subject.bridge.list_hooks() == {}
    assert same_bits(logits_of(subject), before)


def fired(subject: Subject, edit: str) -> None:
    """7. An edit whose hook was never visited raises; an empty window that was visited does not."""
    with pytest.raises(RecipeError, match="never applied"), steered(subject, a_recipe(edit, subject)):
        pass
    stream_of = "attn_heads" if "attn_heads" in a_recipe(edit, subject).placements[0].sites else "resid_pre"
    late = an_edit(edit, subject).at(f"2.{stream_of}")
    with pytest.raises(RecipeError, match=rf"never applied at 2\.{stream_of}"), steered(subject, late):
        subject.bridge(torch.tensor([[5, 6, 7]]), stop_at_layer=1)
    with steered(subject, a_recipe(edit, subject, "9000:9001")):
        logits_of(subject)


def other_form(subject: Subject, edit: str) -> None:
    """8. Edited weights say what hooks say, or the recipe is refused for a reason that is there."""
    made = an_edit(edit, subject)
    heads = any(asset.site.stream == "attn_heads" for asset in made.assets)
    recipe, change = made.at("attn_heads" if heads else PLACES), made.linear()
    normed = any(writer.norm_follows for writer in writers(subject))
    cannot_add = any(w.bias is None for w in writers(subject) if w.component in PLACES[1:])
    if heads or normed or change is None or (change.shifts and cannot_add):
        with pytest.raises(RecipeError), edited(subject, recipe):
            pass
        return
    with steered(subject, recipe):
        hooked = logits_of(subject)
        with rounded_anew(subject):
            rounded = float((hooked - logits_of(subject)).abs().max())
    with edited(subject, recipe):
        written = logits_of(subject)
    assert float((hooked - written).abs().max()) < max(1e-4, 3 * rounded)
    assert rounded < 1e-3, "such an allowance would hide a mistake"
    assert not torch.equal(hooked, logits_of(subject))


def write_side(subject: Subject, edit: str) -> None:
    """9. After an edit that takes a direction away, no matrix writes along it, as the writers' own hooks see.

    Where a norm follows the writer this would not clear the stream: it is refused, with the reason.
    """
    recipe = an_edit(edit, subject).at(PLACES)
    if writers(subject)[-1].norm_follows:
        with pytest.raises(RecipeError, match="normalised before it reaches the stream"):
            compile_recipe(subject, recipe)
        return
    with edited(subject, recipe):
        for writer, change in compile_recipe(subject, recipe).maps.items():
            if writer.component != "pos_embed":
                acts = _written(subject, Site(writer.layer, writer.component))
                left = (acts @ change.cleared().T - change.cleared() @ change.shift).abs().max()
                assert float(left / acts.norm(dim=-1).max()) < 1e-6, f"{writer} still writes it"


def _written(subject: Subject, site: Site) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    with subject.hooked([(site, lambda acts, hook: kept.append(acts.clone()))]):
        logits_of(subject)
    return kept[0]


def repeats(subject: Subject, edit: str) -> None:
    """12. The same inputs and seed give the same tokens and the same recipe digest."""
    recipe = a_recipe(edit, subject)
    said = [tokens_of(generate(subject, PROMPTS, recipe, temperature=1.0, seed=3, max_new_tokens=6)) for _ in "ab"]
    assert said[0] == said[1]
    assert recipe.digest == a_recipe(edit, subject).digest != a_recipe(edit, subject, seed=1).digest


def strengths(subject: Subject, edit: str) -> None:
    """13. At strength 0 an edit is no edit, and on the way to 1 it nowhere jumps.

    Where its strength is a share, from 0 to 1, half of the strength is what a schedule's half makes of the whole.
    """
    whole = an_edit(edit, subject)
    heads = any(asset.site.stream == "attn_heads" for asset in whole.assets)
    width = subject.width(Site(1, "attn_heads" if heads else "resid_pre"))
    acts = 3 * torch.randn(4, 16, width, generator=torch.Generator().manual_seed(0))
    way = torch.stack([replace(whole, strength=step / STEPS)(acts) for step in range(STEPS + 1)])
    torch.testing.assert_close(way[0], acts, atol=1e-5, rtol=0)
    steps = way.diff(dim=0).flatten(1).norm(dim=1)
    assert float(steps.max()) <= float(steps.sum()) / 4, "it jumps"
    strength = next(item for item in whole.controls() if item.name == "strength")
    if (strength.metadata["low"], strength.metadata["high"]) == (0.0, 1.0):
        half = whole.partly(acts, torch.full((4, 16, 1), 0.5))
        torch.testing.assert_close(way[STEPS // 2], half, atol=1e-4, rtol=1e-4)
