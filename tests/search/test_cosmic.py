"""COSMIC's score is the paper's, its halving keeps the winner, and what it chooses is measured like anything else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.search.test_finding import PAIRS, SETTINGS
from workbench.directions import Direction
from workbench.errors import SearchError
from workbench.models import Site, Subject, token_rows
from workbench.search import find_direction, record_find, rederive_find
from workbench.search.scoring import Ledger, Place, Scorer
from workbench.search.strategies import cosmic, strategies

COSMIC = replace(SETTINGS, strategy="cosmic")


def _candidates(subject: Subject, n: int = 6, scale: float = 3.0) -> dict[Place, Direction]:
    layers = range(subject.n_layers - 1)
    return {
        (-1 - number, Site(layer, "resid_pre")): random_direction(subject, seed=number, scale=scale, layer=layer)
        for number, layer in zip(range(n), [*layers] * n, strict=False)
    }


def test_the_score_equals_a_slow_version_with_plain_hooks(llama: Subject, tiny_folders: dict[str, Path]) -> None:
    scorer = Scorer.prepare(llama, PAIRS, (40,), 3)
    candidates = _candidates(llama)
    judge = cosmic._Judge(Ledger(scorer, candidates))
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders["llama"], attn_implementation="eager").eval()
    layers = plain.model.layers

    def means(rows: list[list[int]], unit: torch.Tensor | None, add: tuple[int, torch.Tensor] | None) -> torch.Tensor:
        def erase(acts: torch.Tensor) -> torch.Tensor:
            return acts if unit is None else acts - (acts @ unit)[..., None] * unit

        def enter(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            acts = inputs[0] + add[1] if add is not None and module is layers[add[0]] else inputs[0]
            return (erase(acts), *inputs[1:])

        def leave(module: torch.nn.Module, inputs: object, output: tuple[torch.Tensor, ...]) -> object:
            return (erase(output[0]), *output[1:]) if isinstance(output, tuple) else erase(output)

        kept: dict[int, torch.Tensor] = {}

        def keep(index: int):  # type: ignore[no-untyped-def]
            def hook(module: object, inputs: object, output: object) -> None:
                kept[index] = (output[0] if isinstance(output, tuple) else output)[0, -1]  # type: ignore[index]

            return hook

        handles = [layer.register_forward_pre_hook(enter) for layer in layers]
        handles += [part.register_forward_hook(leave) for layer in layers for part in (layer.self_attn, layer.mlp)]
        handles += [layer.register_forward_hook(keep(index)) for index, layer in enumerate(layers)]
        found = []
        for row in rows:
            with torch.inference_mode():
                plain(torch.tensor([row]))
            found.append(torch.stack([kept[site.layer] for site in judge.sites]).double())
        for handle in handles:
            handle.remove()
        return torch.stack(found).mean(dim=0).flatten()

    harmful, harmless = (token_rows(llama, side) for side in (PAIRS.positive, PAIRS.negative))
    for place, direction in candidates.items():
        tamed = means(harmful, direction.unit, None)
        roused = means(harmless, None, (place[1].layer, direction.unit * direction.scale))
        expected = torch.cosine_similarity(tamed, means(harmless, None, None), dim=0) + torch.cosine_similarity(
            roused, means(harmful, None, None), dim=0
        )
        assert judge.score(place, 16) == pytest.approx(float(expected), abs=1e-5)


def test_it_compares_where_the_two_sides_are_least_alike(llama: Subject) -> None:
    scorer = Scorer.prepare(llama, PAIRS, (40,), 3)
    sites = [Site(layer, "resid_post") for layer in range(llama.n_layers)]
    sides = [cosmic._mean(scorer, rows, sites, cosmic.Recipe()) for rows in (scorer.harmful, scorer.harmless)]
    alike = torch.cosine_similarity(*sides, dim=-1)
    assert [site.layer for site in cosmic._Judge(Ledger(scorer, _candidates(llama))).sites] == [int(alike.argmin())]


def test_halving_keeps_the_best_and_scores_the_last_on_all_prompts(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = _candidates(llama, n=16)
    merit = {place: torch.rand(1, generator=torch.Generator().manual_seed(i)).item() for i, place in
             enumerate(candidates)}  # fmt: skip
    asked: list[int] = []

    def planted(self: object, place: Place, n: int) -> float:
        asked.append(n)
        return merit[place]

    monkeypatch.setattr(cosmic._Judge, "_measured", planted)
    ledger = Ledger(Scorer.prepare(llama, PAIRS, (40,), 3), candidates)
    found = strategies["cosmic"](ledger, llama.n_layers, COSMIC)
    best = max(merit, key=lambda place: merit[place])
    assert (found.rows[0]["position"], found.rows[0]["layer"]) == (best[0], best[1].layer)
    assert asked == [8] * 16 + [16] * 8


def test_its_choice_is_measured_by_the_papers_scores_and_derived_again(llama: Subject, tmp_path: Path) -> None:
    folder = record_find(llama, PAIRS, settings=COSMIC, out=tmp_path / "r")
    results = folder.results()
    assert results["search"]["search"] == "cosmic"
    assert results["chosen"]["n"] == {"refusal_score": 4, "steering_score": 4, "kl_div_score": 4}
    assert rederive_find(folder) == []


def test_no_search_with_nothing_but_late_layers(llama: Subject) -> None:
    with pytest.raises(SearchError, match="earlier layers"):
        find_direction(llama, PAIRS, settings=replace(COSMIC, layers=(llama.n_layers - 1,)))
