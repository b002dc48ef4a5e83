"""The bottleneck: exact sums, top-k without a large tensor, files, and edits that touch one part alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.concepts.planted import a_bottleneck
from workbench.activations import read_streams
from workbench.concepts import (
    AmplifyConcept,
    Bottleneck,
    ConceptHandle,
    ScaleConcept,
    SetConcept,
    SuppressConcept,
    active,
)
from workbench.concepts.active import ConceptReader, scale_of, top_logits
from workbench.directions import load_asset
from workbench.errors import ConceptError, DirectionError
from workbench.generation import stream
from workbench.interventions import Recipe
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts


def streams(subject: Subject, n: int = 7, seed: int = 5) -> torch.Tensor:
    return 3 * torch.randn(n, subject.d_model, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 12), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_streaming_top_k_is_top_k(n: int, k: int, block: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    x, encoder, bias = (torch.randn(*s, generator=draws) for s in ((5, 6), (n, 6), (n,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(active, "BLOCK", block)
        found = top_logits(x, encoder, bias, k)
    whole = (x @ encoder.T + bias).topk(min(k, n), dim=-1)
    torch.testing.assert_close(found.values.sort(dim=-1).values, whole.values.sort(dim=-1).values)
    assert found.concepts.sort(dim=-1).values.tolist() == whole.indices.sort(dim=-1).values.tolist()


def test_parts_are_the_stream(llama: Subject) -> None:
    acts = streams(llama)
    found = a_bottleneck(llama)(acts)
    torch.testing.assert_close(found.known + found.discovered + found.residual, acts, atol=1e-5, rtol=1e-6)


def test_parts_are_what_the_equations_say(llama: Subject) -> None:
    made, acts = a_bottleneck(llama), streams(llama)
    found = made(acts)
    for row, h in enumerate(acts.double()):
        r = h.square().mean().sqrt()
        logits = made.readers.double() @ (h / r) + made.reader_bias.double()
        largest = logits.argsort(descending=True)[: made.k_known]
        known = sum(r * logits[i].sigmoid() * made.vectors[i].double() for i in largest)
        coded = made.encoder.double() @ (h / r) + made.encoder_bias.double()
        most = coded.argsort(descending=True)[: made.k_discovered]
        discovered = r * (made.centre.double() + sum(coded[i].relu() * made.decoder[i].double() for i in most))
        torch.testing.assert_close(found.known[row].double(), known, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.discovered[row].double(), discovered, atol=1e-4, rtol=1e-4)


class TestEdits:
    """Each changes what it says, and neither the discovered part of the vectors' complement nor the rest."""

    @pytest.fixture
    def acts(self, llama: Subject) -> torch.Tensor:
        return streams(llama, 12)[None]

    @pytest.fixture
    def handle(self, llama: Subject) -> ConceptHandle:
        return a_bottleneck(llama).concept("b")

    def test_a_handle_reads_what_the_bottleneck_reads(self, llama: Subject, acts: torch.Tensor) -> None:
        made = a_bottleneck(llama)
        x = acts[0] / scale_of(acts[0])
        for column, name in enumerate(made.names):
            torch.testing.assert_close(made.concept(name)(x), made.known_reader(x).of(column))
        for number in range(len(made.encoder)):
            logits = top_logits(x, made.encoder, made.encoder_bias, made.k_discovered)
            expected = (logits.values.relu() * (logits.concepts == number)).sum(dim=-1)
            torch.testing.assert_close(made.concept(number)(x), expected)

    def test_scaling_by_one_or_setting_to_its_own_value_changes_nothing(
        self, handle: ConceptHandle, acts: torch.Tensor
    ) -> None:
        assert ScaleConcept(handle, 1.0).is_identity
        assert torch.equal(ScaleConcept(handle, 1.0)(acts), acts)
        one = acts[:, :1]
        own = float(handle(one[0] / scale_of(one[0]))) / handle.typical
        torch.testing.assert_close(SetConcept(handle, own)(one), one, atol=1e-5, rtol=1e-5)

    def test_scaling_to_zero_takes_away_the_contribution(
        self, llama: Subject, handle: ConceptHandle, acts: torch.Tensor
    ) -> None:
        scale = scale_of(acts)
        expected = acts - handle(acts / scale)[..., None] * scale * handle.writes
        torch.testing.assert_close(ScaleConcept(handle, 0.0)(acts), expected)

    def test_amplifying_adds_natural_units(self, handle: ConceptHandle, acts: torch.Tensor) -> None:
        moved = AmplifyConcept(handle, 2.0)(acts) - acts
        torch.testing.assert_close(moved, 2 * handle.typical * scale_of(acts) * handle.writes, atol=1e-4, rtol=1e-4)

    def test_suppression_takes_the_positive_part_alone(self, handle: ConceptHandle, acts: torch.Tensor) -> None:
        unit = handle.writes / handle.writes.norm()
        before = (acts / scale_of(acts)) @ unit
        after = (SuppressConcept(handle)(acts) / scale_of(acts)) @ unit
        above = before > handle.level
        assert bool(above.any())
        assert bool((~above).any())
        torch.testing.assert_close(after[above], torch.full_like(after[above], handle.level), atol=1e-4, rtol=1e-4)
        assert torch.equal(SuppressConcept(handle)(acts)[~above], acts[~above])


class TestFiles:
    def test_a_bottleneck_comes_back(self, llama: Subject, tmp_path: Path) -> None:
        made = a_bottleneck(llama)
        again = Bottleneck.load(made.save(tmp_path / "bottleneck.safetensors"))
        assert (again.digest, again.names, again.site) == (made.digest, made.names, made.site)
        assert Bottleneck.load(tmp_path).digest == made.digest
        assert a_bottleneck(llama, seed=1).digest != made.digest

    def test_a_concept_comes_back_as_an_asset_and_in_a_recipe(self, llama: Subject, tmp_path: Path) -> None:
        handle = a_bottleneck(llama).concept("c")
        again = load_asset(handle.save(tmp_path / "c.safetensors"))
        assert isinstance(again, ConceptHandle)
        assert (again.digest, again.name) == (handle.digest, "c")
        recipe = AmplifyConcept(handle, 2.0).at("2.resid_post") + ScaleConcept(handle, 0.5).at("2.resid_post")
        recipe.save(tmp_path / "recipe.json")
        assert Recipe.load(tmp_path / "recipe.json").digest == recipe.digest

    def test_one_of_another_model_is_refused(self, llama: Subject, tiny_subjects: dict[str, Subject]) -> None:
        with pytest.raises(DirectionError, match="bottleneck"):
            a_bottleneck(llama).check_fits(tiny_subjects["gpt2"])

    def test_damage_is_named(self, llama: Subject, tmp_path: Path) -> None:
        path = a_bottleneck(llama).save(tmp_path / "b.safetensors")
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DirectionError, match="damaged"):
            Bottleneck.load(path)
        with pytest.raises(DirectionError, match="There is no bottleneck"):
            Bottleneck.load(tmp_path / "none.safetensors")


def test_what_does_not_fit_together_is_refused(llama: Subject) -> None:
    made = a_bottleneck(llama)
    with pytest.raises(ConceptError, match="do not fit together"):
        replace(made, names=("a", "b"))
    with pytest.raises(ConceptError, match="not finite"):
        replace(made, level=made.level * torch.nan)


def test_a_concept_that_is_not_there_is_named(llama: Subject) -> None:
    made = a_bottleneck(llama)
    with pytest.raises(ConceptError, match="There is no concept 'joy'; the bottleneck knows: a, b, c, d"):
        made.concept("joy")
    with pytest.raises(ConceptError, match="There is no discovered concept 9; there are 0-8"):
        made.concept(9)


def test_concepts_are_watched_while_the_model_talks(llama: Subject) -> None:
    """Token by token what a reading of the whole reply says afterwards, in natural units."""
    made = a_bottleneck(llama)
    watch: dict[str, ConceptHandle] = {name: made.concept(name) for name in made.names}
    with stream(llama, "Hello", max_new_tokens=5, watch=watch) as tokens:
        said = list(tokens)
    (row,) = token_rows(llama, Prompts.of(["Hello"]))
    whole = llama.batch([[*row, *(token.id for token in said[:-1])]])
    acts = read_streams(llama, whole, [made.site], lambda acts: acts)[made.site][0, len(row) - 1 :]
    reading = made(acts)
    for number, name in enumerate(made.names):
        expected = reading.known_active.of(number) / made.typical[number]
        assert [token.watched[name] for token in said] == pytest.approx(expected.tolist(), abs=1e-4)
    assert any(token.watched[name] > 0 for token in said for name in made.names)


def test_concepts_of_one_reader_are_read_together(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it is read alone; also where two bottlenecks are mixed, and where a concept comes from a file."""
    one, other, acts = a_bottleneck(llama), a_bottleneck(llama, seed=1), streams(llama)[None]
    handles = [one.concept("b"), other.concept("b"), one.concept("d"), one.concept(3), other.concept(1)]
    alone = [handle.coordinate(acts) for handle in handles]
    read: list[ConceptReader] = []
    whole = ConceptReader.__call__
    monkeypatch.setattr(ConceptReader, "__call__", lambda self, x: read.append(self) or whole(self, x))
    for found, expected in zip(ConceptHandle.coordinates(handles, acts), alone, strict=True):
        torch.testing.assert_close(found, expected)
    assert len(read) == 4
