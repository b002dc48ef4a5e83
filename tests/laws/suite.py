"""The laws, as functions of a Subject and a registered edit; the tests run them over models and registries."""

import pytest
import torch

from tests.laws.cases import PROMPTS, SCOPES, a_recipe, an_edit, logits_of, same_bits, tokens_of
from workbench.errors import RecipeError
from workbench.generation import generate
from workbench.interventions import Recipe, steered
from workbench.models import Subject


def no_op(subject: Subject, edit: str) -> None:
    """1. Strength 0, an empty recipe and an empty window change no bit."""
    plain = logits_of(subject)
    nothing = [Recipe(), *(a_recipe(edit, subject, scope, strength=0.0) for scope in SCOPES)]
    for recipe in [*nothing, a_recipe(edit, subject, "generated"), a_recipe(edit, subject, "9000:9001")]:
        with steered(subject, recipe):
            assert same_bits(logits_of(subject), plain), f"{recipe} changed bits"
    assert tokens_of(generate(subject, PROMPTS, max_new_tokens=6)) == tokens_of(
        generate(subject, PROMPTS, Recipe(), max_new_tokens=6)
    )


def changes(subject: Subject, edit: str) -> None:
    """The laws would hold of an edit that does nothing: at strength 1 it must change the logits."""
    plain = logits_of(subject)
    with steered(subject, a_recipe(edit, subject)):
        assert not torch.equal(logits_of(subject), plain)


def cache(subject: Subject, edit: str, scope: str) -> None:
    """2. Generation with a KV cache equals generation without."""
    recipe = a_recipe(edit, subject, scope)
    quick = generate(subject, PROMPTS, recipe, max_new_tokens=8)
    slow = generate(subject, PROMPTS, recipe, max_new_tokens=8, cache=False)
    assert tokens_of(quick) == tokens_of(slow)


def batch(subject: Subject, edit: str, scope: str) -> None:
    """3. Alone, in a padded batch, and beside other recipes: the same tokens."""
    recipe = a_recipe(edit, subject, scope)
    together = tokens_of(generate(subject, PROMPTS, recipe, max_new_tokens=8))
    alone = [tokens_of(generate(subject, PROMPTS[i : i + 1], recipe, max_new_tokens=8))[0] for i in range(len(PROMPTS))]
    others = [recipe, a_recipe(edit, subject, scope, seed=7), Recipe()]
    mixed = tokens_of(generate(subject, PROMPTS, others, max_new_tokens=8))
    assert together == alone
    assert mixed[0] == alone[0]


def rows(subject: Subject, edit: str, scope: str) -> None:
    """5. A recipe on one row changes no bit of another row."""
    plain = logits_of(subject)
    with steered(subject, [Recipe(), a_recipe(edit, subject, scope), Recipe()]):
        edited = logits_of(subject)
    assert same_bits(edited[[0, 2]], plain[[0, 2]])
    if scope in ("all", "prompt"):
        assert not torch.equal(edited[1], plain[1])


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
    late = an_edit(edit, subject).at(2)
    with pytest.raises(RecipeError, match=r"never applied at 2\.resid_pre"), steered(subject, late):
        subject.bridge(torch.tensor([[5, 6, 7]]), stop_at_layer=1)
    with steered(subject, a_recipe(edit, subject, "9000:9001")):
        logits_of(subject)


def repeats(subject: Subject, edit: str) -> None:
    """12. The same inputs and seed give the same tokens and the same recipe digest."""
    recipe = a_recipe(edit, subject)
    said = [tokens_of(generate(subject, PROMPTS, recipe, temperature=1.0, seed=3, max_new_tokens=6)) for _ in "ab"]
    assert said[0] == said[1]
    assert recipe.digest == a_recipe(edit, subject).digest != a_recipe(edit, subject, seed=1).digest
