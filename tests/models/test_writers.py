"""The matrices that write to the stream: what each architecture has, and where the stream lies in it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.conftest import ARCHITECTURES
from tests.laws.cases import PROMPTS
from tests.tiny import CONFIGS
from workbench.errors import ModelError
from workbench.models import Site, Subject, matrices, token_rows, writers, writers_of_folder

KINDS = {"gpt2": ["embed", "pos_embed"]}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_has_two_writers_after_the_embeddings(tiny_subjects: dict[str, Subject], name: str) -> None:
    subject = tiny_subjects[name]
    layers = [f"{layer}.{part}" for layer in range(subject.n_layers) for part in ("attn_out", "mlp_out")]
    assert list(map(str, writers(subject))) == KINDS.get(name, ["embed"]) + layers


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_folder_has_the_writers_of_the_model_that_is_opened_from_it(
    tiny_subjects: dict[str, Subject], tiny_folders: dict[str, Path], name: str
) -> None:
    found = writers(tiny_subjects[name])
    assert writers_of_folder(tiny_folders[name]) == found
    with safe_open(tiny_folders[name] / "model.safetensors", framework="pt") as tensors:
        for writer in found:
            for stored, matrix in zip(writer.names, _each(tiny_subjects[name], writer), strict=True):
                assert torch.equal(tensors.get_tensor(stored), matrix)


def _each(subject: Subject, writer: object) -> list[torch.Tensor]:
    live = writer.matrix(subject)  # type: ignore[attr-defined]
    return list(live) if live.ndim == 3 else [live]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "gemma3"])
def test_the_streams_axis_is_the_one_along_which_the_matrix_writes(
    tiny_subjects: dict[str, Subject], name: str
) -> None:
    """Cleared along a random direction on that side, and on the other, only the first leaves the output without it."""
    subject = tiny_subjects[name]
    unit = torch.nn.functional.normalize(torch.randn(subject.d_model), dim=0)
    for writer in (each for each in writers(subject) if each.component != "pos_embed"):
        matrix = writer.matrix(subject)
        kept = matrix.detach().clone()
        with torch.no_grad():
            for each in matrices(matrix, writer.live_axis(subject) if matrix.ndim == 2 else 1):
                each -= torch.outer(unit, unit @ each)
            bias = getattr(writer.module(subject), "bias", None)
            written = _written(subject, Site(writer.layer, writer.component)) - (0 if bias is None else bias)
            matrix.copy_(kept)
        assert float((written @ unit).abs().max()) < 1e-5, writer


def _written(subject: Subject, site: Site) -> torch.Tensor:
    kept = []
    with subject.hooked([(site, lambda acts, hook: kept.append(acts.clone()))]):
        subject.logits(subject.batch(token_rows(subject, PROMPTS)))
    return kept[0]


def test_tied_embeddings_and_norms_after_a_writer_are_known(tiny_subjects: dict[str, Subject]) -> None:
    assert {name for name, each in tiny_subjects.items() if writers(each)[0].tied} == {"qwen2", "gemma3", "gpt2"}
    assert {name for name, each in tiny_subjects.items() if writers(each)[-1].norm_follows} == {"gemma3"}
    assert writers(tiny_subjects["gemma3"])[0].scale == pytest.approx(32**0.5)


def test_experts_are_one_writer_with_a_stored_matrix_each(tiny_subjects: dict[str, Subject]) -> None:
    writer = writers(tiny_subjects["mixtral"])[2]
    assert [name.split("experts.")[1] for name in writer.names] == [f"{i}.w2.weight" for i in range(4)]


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing-known"}))
    with pytest.raises(ModelError, match="could not be read"):
        writers_of_folder(tmp_path)


def test_shared_experts_are_refused_by_name(tmp_path: Path) -> None:
    from transformers import Qwen2MoeConfig

    options = CONFIGS["mixtral"][1] | {"architectures": ["Qwen2MoeForCausalLM"], "num_experts": 4}
    options |= {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    Qwen2MoeConfig(**options).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="shared_expert beside its experts"):
        writers_of_folder(tmp_path)
