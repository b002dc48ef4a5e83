"""Decoding equals transformers' own, and does not depend on the company it keeps."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, tokens_of
from workbench.errors import UsageError
from workbench.generation import generate
from workbench.generation.sampling import Sampling
from workbench.interventions import Add
from workbench.models import Subject, token_rows
from workbench.prompts import Prompt, Prompts


def test_greedy_decoding_equals_the_plain_model(tiny: Subject, tiny_folders: dict[str, Path]) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders[tiny.name], attn_implementation="eager").eval()
    said = generate(tiny, PROMPTS, max_new_tokens=12)
    for reply, row in zip(said, token_rows(tiny, PROMPTS), strict=True):
        ids = torch.tensor([row])
        with torch.inference_mode():
            out = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        expected = out[0, len(row) :].tolist()
        assert list(reply.tokens) == [token for token in expected if token not in tiny.end_tokens][: len(reply.tokens)]
        assert reply.finished == any(token in tiny.end_tokens for token in expected)


def test_sampling_does_not_depend_on_the_batch(llama: Subject) -> None:
    options = {"temperature": 1.3, "top_p": 0.9, "seed": 5, "max_new_tokens": 10}
    together = generate(llama, PROMPTS, **options)
    alone = [generate(llama, PROMPTS[i : i + 1], **options)[0] for i in range(len(PROMPTS))]
    reversed_ = generate(llama, Prompts(PROMPTS.items[::-1]), batch_size=2, **options)
    assert tokens_of(together) == tokens_of(alone) == tokens_of(reversed_)[::-1]
    assert tokens_of(together) != tokens_of(generate(llama, PROMPTS, **(options | {"seed": 6})))


def test_every_prompt_and_every_seed_draws_its_own() -> None:
    def first(seed: int, text: str) -> float:
        generator = Sampling(1.0, 1.0, seed).generators([Prompt(text=text).digest])[0]
        return float(torch.rand(1, generator=generator))

    assert len({first(seed, text) for seed in (0, 1) for text in ("a", "b")}) == 4
    assert first(0, "a") == first(0, "a")


def test_sampling_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    sampling = Sampling(temperature=1.0, top_p=0.75)
    generator = [torch.Generator().manual_seed(0)]
    drawn = torch.cat([sampling.choose(logits, generator) for _ in range(4000)])
    share = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=0.03, rtol=0)


def test_a_list_may_hold_prompts_and_texts(llama: Subject) -> None:
    one = Prompts.of(["c d"]).changed(prefill="e f")[0]
    said = generate(llama, ["a b", one], max_new_tokens=2)
    assert [reply.prompt for reply in said] == [Prompts.of(["a b"])[0], one]
    assert said[1].tokens == generate(llama, Prompts((one,)), max_new_tokens=2)[0].tokens


def test_a_recipe_for_each_prompt_is_applied_to_its_own(llama: Subject) -> None:
    recipes = [Add(random_direction(llama, seed)).at(1) for seed in range(3)]
    mixed = generate(llama, PROMPTS, recipes, batch_size=2, max_new_tokens=6)
    alone = [generate(llama, PROMPTS[i : i + 1], recipes[i], max_new_tokens=6)[0] for i in range(3)]
    assert tokens_of(mixed) == tokens_of(alone)


@pytest.mark.parametrize("cache", [True, False])
def test_rows_that_end_leave_the_batch_and_change_no_other_reply(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch, cache: bool
) -> None:
    many = Prompts.of([f"Say {n} {'very ' * n}loud." for n in range(6)])
    recipe = Add(random_direction(tiny)).at(1, "generated")
    long = generate(tiny, many, recipe, max_new_tokens=12)
    stop = frozenset({long[0].tokens[3], long[3].tokens[6], long[4].tokens[0]})
    monkeypatch.setattr(type(tiny), "end_tokens", property(lambda self: stop))
    short = generate(tiny, many, recipe, max_new_tokens=12, cache=cache)
    assert sum(reply.finished for reply in short) >= 3
    for one, other in zip(short, long, strict=True):
        first = next((i for i, token in enumerate(other.tokens) if token in stop), len(other.tokens))
        assert one.tokens == other.tokens[:first]
        assert one.finished == (first < len(other.tokens))


def test_model_text_is_escaped_in_notebooks(llama: Subject) -> None:
    said = generate(llama, "<script>alert(1)</script>", max_new_tokens=2)
    assert "<script>" not in said._repr_html_()
    assert "&lt;script&gt;" in said._repr_html_()
    assert list(said.to_pandas().columns) == ["prompt", "category", "reply", "tokens", "finished"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"temperature": -1.0}, UsageError),
        ({"temperature": float("nan")}, UsageError),
        ({"top_p": 0.0}, UsageError),
        ({"max_new_tokens": 0}, UsageError),
        ({"max_new_tokens": 10_000}, UsageError),
        ({"batch_size": 0}, UsageError),
    ],
)
def test_bad_options_are_one_sentence(llama: Subject, options: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error):
        generate(llama, PROMPTS, **options)


def test_as_many_recipes_as_prompts(llama: Subject) -> None:
    with pytest.raises(UsageError, match="2 recipes were given for 3 prompts"):
        generate(llama, PROMPTS, [Add(random_direction(llama)).at(1)] * 2)
