"""Adapters that are ablations: the directions and strengths that were planted, and what peft makes of the files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GraniteConfig

from tests.conftest import random_direction
from tests.tiny import CONFIGS, save_model
from tests.weights.adapters import (
    CONFIG,
    adapter,
    cosine,
    everywhere,
    factors,
    module_of,
    orthogonal,
    parts,
    read,
    save,
)
from workbench.errors import RecipeError
from workbench.interventions import Ablate, AblateSubspace, Add, Clamp, Recipe, steered
from workbench.models import Subject, open_model, writers
from workbench.weights import compile_recipe, import_recipe


@pytest.mark.parametrize("strength", [1.0, 0.37, -0.5, 1.4])
def test_an_adapter_gives_back_the_direction_and_the_strength_that_it_was_made_of(
    tiny: Subject, strength: float, tmp_path: Path
) -> None:
    direction = random_direction(tiny)
    recipe = Ablate(direction, strength).at(list(everywhere(tiny)))
    found = import_recipe(tiny, adapter(tiny, recipe, tmp_path / "a"))
    ((edit, sites),) = parts(found)
    assert len(found) == 1
    assert isinstance(edit, Ablate)
    assert cosine(edit.direction, direction) > 0.999999
    assert edit.strength == pytest.approx(strength, abs=1e-4)
    expected = ("embed", *everywhere(tiny)[1:])
    assert sites == (everywhere(tiny) if tiny.model_type == "gpt2" else expected)


def test_the_whole_of_a_direction_is_the_strength_one_to_the_last_bit(llama: Subject, tmp_path: Path) -> None:
    found = import_recipe(llama, adapter(llama, Ablate(random_direction(llama)).at("all"), tmp_path / "a"))
    assert [edit.strength for edit, _ in parts(found)] == [1.0]
    compile_recipe(llama, found + Ablate(found.directions[0]).at("all"))  # at exactly 1 alone


@pytest.mark.parametrize("kind", ["ablate", "subspace", "two strengths", "clamp", "half an ablation at some layers"])
def test_the_recipe_compiles_to_the_weights_that_the_adapter_makes(tiny: Subject, kind: str, tmp_path: Path) -> None:
    """The way back: for every matrix, the change that the imported recipe makes is the adapter's own."""
    one, two = (random_direction(tiny, seed) for seed in (1, 2))
    gemma = tiny.model_type.startswith("gemma3")
    sites = list(everywhere(tiny))
    recipe = {
        "ablate": lambda: Ablate(one, 0.6).at(sites),
        "subspace": lambda: AblateSubspace((one, two), 0.8).at(sites),
        "two strengths": lambda: Ablate(one, 0.3).at(sites) + Ablate(orthogonal(one, two)).at(sites),
        "clamp": lambda: Clamp(one, value=1.5).at(sites),
        "half an ablation at some layers": lambda: (
            Ablate(one, 0.5).at(sites) if gemma else Ablate(one, 0.5).at(["0.attn_out", "2.mlp_out"])
        ),
    }[kind]()
    asked = compile_recipe(tiny, recipe)
    made = compile_recipe(tiny, import_recipe(tiny, adapter(tiny, asked, tmp_path / "a")))
    assert set(made.maps) == set(asked.maps)
    drawn = torch.randn(20, tiny.d_model, generator=torch.Generator().manual_seed(3))
    for writer, change in asked.maps.items():
        assert torch.allclose(made.maps[writer](drawn), change(drawn), atol=1e-4)


def test_orthogonal_directions_of_one_strength_are_one_subspace(llama: Subject, tmp_path: Path) -> None:
    span = tuple(random_direction(llama, seed) for seed in (1, 2, 3))
    found = import_recipe(llama, adapter(llama, AblateSubspace(span, 0.7).at("attn_out"), tmp_path / "a"))
    ((edit, sites),) = parts(found)
    assert isinstance(edit, AblateSubspace)
    assert (len(edit.span), sites) == (3, ("attn_out",))
    assert edit.strength == pytest.approx(0.7, abs=1e-4)
    basis = torch.stack([direction.unit for direction in edit.span])
    for direction in span:
        assert (basis @ direction.unit).norm() == pytest.approx(1.0, abs=1e-5)


def test_each_layer_may_have_its_own_direction_and_strength(llama: Subject, tmp_path: Path) -> None:
    planted = {layer: Ablate(random_direction(llama, layer), (0.5, 0.5, 0.9)[layer]) for layer in range(3)}
    recipe = Recipe()
    for layer, edit in planted.items():
        recipe += edit.at(f"{layer}.mlp_out")
    found = import_recipe(llama, adapter(llama, recipe, tmp_path / "a"))
    assert [sites for _, sites in parts(found)] == [("0.mlp_out",), ("1.mlp_out",), ("2.mlp_out",)]
    for (edit, _), asked in zip(parts(found), planted.values(), strict=True):
        assert isinstance(edit, Ablate)
        assert edit.strength == pytest.approx(asked.strength, abs=1e-4)
        assert cosine(edit.direction, asked.direction) > 0.999999


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "phi3"])
def test_a_bias_of_an_adapter_is_an_addition_at_the_writer(
    tiny_subjects: dict[str, Subject], name: str, tmp_path: Path
) -> None:
    subject = tiny_subjects[name]
    direction = random_direction(subject)
    recipe = Ablate(direction).at(["1.mlp_out", "2.mlp_out"]) + Add(direction, 0.5).at("1.mlp_out")
    _, addition = import_recipe(subject, adapter(subject, recipe, tmp_path / "a")).placements
    assert isinstance(addition.edit, Add)
    assert addition.sites == ("1.mlp_out",)
    assert torch.allclose(addition.edit.linear().shift, Add(direction, 0.5).linear().shift, atol=1e-5)


def test_a_matrix_that_is_cleared_beside_a_bias_that_is_not_is_an_ablation_and_an_addition(
    tiny_subjects: dict[str, Subject], tmp_path: Path
) -> None:
    """Without its own bias's share the adapter leaves along the direction what the bias writes; so does the recipe."""
    gpt2 = tiny_subjects["gpt2"]
    direction = random_direction(gpt2)
    with torch.no_grad():
        writer = next(writer for writer in writers(gpt2) if str(writer) == "1.mlp_out")
        old = writer.module(gpt2).bias.clone()
        writer.module(gpt2).bias.add_(0.3)
    try:
        folder = adapter(gpt2, Ablate(direction).at("1.mlp_out"), tmp_path / "a")
        (ablation,) = import_recipe(gpt2, folder).placements
        assert ablation.edit.strength == 1.0  # type: ignore[attr-defined]
        tensors = {name: tensor for name, tensor in read(folder).items() if not name.endswith("bias")}
        _, addition = import_recipe(gpt2, save(tmp_path / "b", tensors, CONFIG)).placements
        left = float((old + 0.3) @ direction.unit) * direction.unit
        assert torch.allclose(addition.edit.linear().shift, left, atol=1e-5)  # type: ignore[union-attr]
    finally:
        with torch.no_grad():
            writer.module(gpt2).bias.copy_(old)


def test_where_the_stream_takes_a_share_of_what_is_written_the_addition_is_still_the_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Granite multiplies what attention and MLP write, after the module and its bias."""
    named = CONFIGS["llama"][1] | {"architectures": ["GraniteForCausalLM"], "residual_multiplier": 0.25}
    monkeypatch.setitem(CONFIGS, "granite", (GraniteConfig, named))
    granite = open_model(str(save_model("granite", tmp_path / "granite")), dtype="float32")
    direction = random_direction(granite)
    written = Add(direction, 0.5)
    (placement,) = import_recipe(granite, adapter(granite, written.at("1.attn_out"), tmp_path / "a")).placements
    assert torch.allclose(placement.edit.linear().shift, written.linear().shift, atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore")
def test_peft_makes_of_the_adapter_what_hooks_make_of_the_recipe(
    tiny: Subject, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """The conventions are peft's: the same file on the same base, in transformers, says the same."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    folder = adapter(tiny, Ablate(random_direction(tiny), 0.8).at(list(everywhere(tiny))), tmp_path / "a")
    modules = {name.removeprefix("base_model.model.").rsplit(".lora", 1)[0] for name in read(folder)}
    experts = sorted(f"{name}.down_proj" for name in modules if name.endswith("experts"))
    config = json.loads((folder / "adapter_config.json").read_text()) | {
        "target_modules": sorted(name for name in modules if not name.endswith("experts")),
        "target_parameters": experts or None, "task_type": "CAUSAL_LM", "fan_in_fan_out": False,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    base = AutoModelForCausalLM.from_pretrained(tiny_folders[tiny.name], dtype=torch.float32)
    batch = tiny.batch([[7, 8, 9, 10, 11, 12]])
    with torch.no_grad():
        plain = base(batch.ids).logits
        theirs = peft.PeftModel.from_pretrained(base, folder)(batch.ids).logits
    with steered(tiny, import_recipe(tiny, folder)):
        ours = tiny.logits(batch)
    assert (theirs - plain).abs().max() > 0.01
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 7}}]
)
def test_the_scaling_of_an_adapter_is_peft_s(
    llama: Subject, tiny_folders: dict[str, Path], options: dict[str, Any], tmp_path: Path
) -> None:
    """From an adapter that peft saved, whose factors are then overwritten by those of an ablation."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_folders["llama"], dtype=torch.float32)
    targets = ["layers.0.self_attn.o_proj", "layers.2.mlp.down_proj"]
    model = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, **options))
    model.save_pretrained(tmp_path / "a")
    direction, tensors = random_direction(llama), read(tmp_path / "a")
    for writer in writers(llama):
        name = f"base_model.model.{module_of(llama, writer)}"
        if f"{name}.lora_A.weight" in tensors:
            tensors[f"{name}.lora_A.weight"].zero_()[0] = direction.unit @ writer.matrix(llama).detach()
            tensors[f"{name}.lora_B.weight"][:, 0] = -0.2 * direction.unit
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    found = import_recipe(llama, save(tmp_path / "a", tensors, config))
    scales = {2: 7 / 2, 3: 5 / 3} if "rank_pattern" in options else {3: 5 / 3**0.5 if options else 5 / 3}
    assert sorted({round(edit.strength, 4) for edit, _ in parts(found)}) == sorted(
        round(0.2 * s, 4) for s in scales.values()
    )
    batch = llama.batch([[7, 8, 9, 10]])
    fresh = AutoModelForCausalLM.from_pretrained(tiny_folders["llama"], dtype=torch.float32)
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(fresh, tmp_path / "a")(batch.ids).logits
    with steered(llama, found):
        assert torch.allclose(llama.logits(batch), theirs, atol=1e-4)


def test_factors_in_sixteen_bits_give_the_same_direction(llama: Subject, tmp_path: Path) -> None:
    direction = random_direction(llama)
    for dtype in (torch.bfloat16, torch.float16):
        folder = adapter(llama, Ablate(direction, 0.8).at(["embed", "attn_out", "mlp_out"]), tmp_path / str(dtype))
        config = json.loads((folder / "adapter_config.json").read_text())
        found = import_recipe(llama, save(folder, {n: t.to(dtype) for n, t in read(folder).items()}, config))
        ((edit, sites),) = parts(found)
        assert sites == ("embed", "attn_out", "mlp_out")
        assert isinstance(edit, Ablate)
        assert cosine(edit.direction, direction) > 0.9999
        assert edit.strength == pytest.approx(0.8, abs=2e-3)


def test_experts_may_be_kept_one_by_one(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    """As adapters name them that were made before transformers kept them in one tensor."""
    mixtral = tiny_subjects["mixtral"]
    direction = random_direction(mixtral)
    compiled = compile_recipe(mixtral, Ablate(direction, 0.5).at("1.mlp_out"))
    ((writer, change),) = compiled.maps.items()
    tensors = {}
    for name, (left, right) in zip(writer.names, factors(mixtral, writer, change), strict=True):
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{module}.lora_A.weight": right, f"{module}.lora_B.weight": left}
    ((edit, sites),) = parts(import_recipe(mixtral, save(tmp_path / "a", tensors, CONFIG)))
    assert (sites, edit.strength) == (("1.mlp_out",), pytest.approx(0.5, abs=1e-4))
    some = {name: tensor for name, tensor in tensors.items() if "experts.2" not in name}
    with pytest.raises(RecipeError, match=r"some experts of .* and not others"):
        import_recipe(mixtral, save(tmp_path / "b", some, CONFIG))
