"""Attribution: the parts are the logit, on every architecture, unsteered and steered."""

import pytest
import torch

from tests.concepts.planted import a_bottleneck
from workbench.concepts import AmplifyConcept, ScaleConcept, attribute, explain
from workbench.concepts.attribution import Attribution
from workbench.errors import ConceptError, DirectionError
from workbench.interventions import Recipe, steered
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompts

PROMPTS = Prompts.of(["Tell me a story.", "Why?"])


def logits_of(subject: Subject, row: list[int]) -> torch.Tensor:
    found = subject.logits(subject.batch([row]))[0].float()
    return found - found.mean(dim=-1, keepdim=True)


def check(subject: Subject, found: Attribution, row: list[int]) -> None:
    logits = logits_of(subject, row)
    expected = logits.gather(1, found.tokens[:, None])[:, 0]
    torch.testing.assert_close(found.total, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.logit, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.shares.sum(dim=1), torch.ones(len(row)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("edited", [False, True])
def test_the_parts_are_the_logit(tiny: Subject, edited: bool) -> None:
    made = a_bottleneck(tiny)
    recipe = AmplifyConcept(made.concept("a"), 2.0).at(made.site) if edited else Recipe()
    with steered(tiny, recipe):
        for found, row in zip(attribute(tiny, made, PROMPTS), token_rows(tiny, PROMPTS), strict=True):
            assert found.exact
            check(tiny, found, row)


def test_an_edit_of_a_concept_moves_that_concepts_part(llama: Subject) -> None:
    """Held at its scale, the logit moves by what the edit adds along it: nothing is hidden in the residual."""
    made = a_bottleneck(llama)
    (plain,) = attribute(llama, made, PROMPTS[:1])
    with steered(llama, ScaleConcept(made.concept("a"), 0.0).at(made.site)):
        (without,) = attribute(llama, made, PROMPTS[:1], plain.tokens)
    column = made.names.index("a")
    assert float(plain.known[:, column].abs().max()) > 0.01
    assert not torch.allclose(plain.logit, without.logit, atol=1e-3)


def test_inner_sites_say_that_they_are_of_first_order(llama: Subject) -> None:
    made = a_bottleneck(llama, Site(1, "resid_pre"))
    (found,) = attribute(llama, made, PROMPTS[:1])
    assert not found.exact
    (row,) = token_rows(llama, PROMPTS[:1])
    step = 1e-2
    expected = logits_of(llama, row).gather(1, found.tokens[:, None])[:, 0]
    torch.testing.assert_close(found.logit, expected, atol=1e-4, rtol=1e-4)
    column, at = made.names.index("b"), len(row) - 1

    def nudged(acts: torch.Tensor, hook: object) -> torch.Tensor:
        reading = made(acts[0])
        part = reading.known_active.of(column)[:, None] * reading.scale * made.vectors[column]
        moved = acts.clone()
        moved[0, at] += step * part[at]
        return moved

    with llama.hooked([(made.site, nudged)]):
        moved = logits_of(llama, row).gather(1, found.tokens[:, None])[:, 0]
    slope = float((moved - expected)[at]) / step
    assert slope == pytest.approx(float(found.known[at, column]), abs=0.02 * max(1.0, abs(slope)))


def test_another_models_bottleneck_is_refused(llama: Subject, tiny_subjects: dict[str, Subject]) -> None:
    with pytest.raises(DirectionError):
        attribute(tiny_subjects["gpt2"], a_bottleneck(llama), PROMPTS)


def test_one_token_is_asked_for_each_position(llama: Subject) -> None:
    with pytest.raises(ConceptError, match="give one for each"):
        attribute(llama, a_bottleneck(llama), PROMPTS[:1], torch.tensor([1, 2]))


@pytest.mark.parametrize("tokens", ["all", "generated"])
def test_a_reply_is_explained_under_its_own_recipe(llama: Subject, tokens: str) -> None:
    made = a_bottleneck(llama)
    recipe = AmplifyConcept(made.concept("a"), 3.0).at(made.site, tokens)
    for found in explain(llama, made, PROMPTS, recipe, max_new_tokens=6):
        said = found.to_json()
        assert said["error"] < 1e-4
        assert sum(said["shares"].values()) == pytest.approx(1, abs=1e-4)
        for token in range(len(found.tokens)):
            total = sum(value for _, value in found.waterfall(token, 3))
            assert total == pytest.approx(float(found.attribution.logit[token]), abs=1e-3)
            # What was said is the likeliest, so that its logit is above the mean.
            assert float(found.attribution.logit[token]) > 0
            assert sum(value for _, value in said["by_token"]["parts"][token]) == pytest.approx(total, abs=1e-3)
            assert sum(said["by_token"]["shares"][token]) == pytest.approx(1, abs=1e-4)
        assert {len(values) for values in said["by_token"]["known"].values()} == {len(found.tokens)}
        for figure in (found.plot(3), found.plot_shares(), found.plot_token(0)):
            assert figure.to_json()


def test_a_figure_says_where_its_parts_are_of_first_order(llama: Subject) -> None:
    for site, exact in ((Site(llama.n_layers - 1, "resid_post"), True), (Site(0, "resid_post"), False)):
        (found, *_) = explain(llama, a_bottleneck(llama, site), PROMPTS, max_new_tokens=3)
        for figure in (found.plot(3), found.plot_shares(), found.plot_token(0)):
            assert ("first order" in figure.to_json()) is not exact
