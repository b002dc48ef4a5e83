"""The calibration of the audit: chosen on one half, reported on the other; its checkpoints are what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from experiments import audit_finetunes as f
from experiments.audit_calibration import REAL, RESULT, Case, summarised
from workbench.weights.audit.calibration import calibration


def row(model: str, seed: int, together: float, dose: float = 0.0, **more: Any) -> dict[str, Any]:
    held = {"finetune": "a", "kind": "finetuned", "low_rank": False, "alone": 0.0}
    return {"model": model, "seed": seed, "together": together, "dose": dose} | held | more


def test_the_threshold_is_chosen_on_even_seeds_and_reported_on_the_others() -> None:
    rows = [
        row("llama", 0, 0.8, alone=0.9),
        row("llama", 2, 0.4),
        row("llama", 2, 0.99, dose=1.0),
        row("llama", 1, 0.95),
        row("llama", 3, 0.1),
        row("llama", 3, 0.91, dose=0.25),
        row("llama", 3, 0.5, dose=0.25, alone=0.94),
        row("llama", 3, 0.5, dose=0.25, alone=0.96),
        row("llama", 3, 0.2, kind="adapter", low_rank=True),
        row(REAL, 0, 0.85),
        row(REAL, 0, 0.5, kind="rewritten"),
        row(REAL, 0, 0.3, dose=0.25),
    ]
    found = summarised(rows)
    assert found["limits"] == {"together": 0.9, "alone": 0.95}
    assert found["chosen_on"] == {"hits": 0, "n": 2}
    assert found["called_edited"]["tiny, finetuned"] == {"hits": 1, "n": 3}
    assert found["called_edited"][f"{REAL}, finetuned"] == {"hits": 0, "n": 1}
    assert found["called_edited"][f"{REAL}, rewritten"] == {"hits": 0, "n": 1}
    assert found["found"]["tiny, dose 0.25"] == {"hits": 2, "n": 3}
    assert found["found"][f"{REAL}, dose 0.25"] == {"hits": 0, "n": 1}
    assert found["low_rank"]["tiny, adapter"] == {"hits": 1, "n": 1}
    assert found["low_rank"]["tiny, finetuned"] == {"hits": 0, "n": 2}


def test_the_stored_result_is_what_the_verdict_reads() -> None:
    stored = json.loads(RESULT.read_text())
    assert stored["limits"] == calibration().limits.model_dump()
    assert stored["chosen_on"]["hits"] == 0
    assert 0.5 < stored["limits"]["together"] < stored["limits"]["alone"] < 1.0
    assert len(stored["worst"]) == len(f.OF_TINY) + len(f.OF_REAL)


@pytest.mark.parametrize("name", ["8 bits and back", "adamw, 2 steps", "adapter, rank 4", "embedding alone"])
def test_a_case_is_audited_as_it_is_and_edited(tiny_folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    how = next(one for one in f.OF_TINY if one.name == name)
    base = tiny_folders["llama"]
    case = Case("llama", str(base), base, how, 0, torch.float32, f.byte_batches(0, 1), 0.5)
    plain, edited = case.rows(tmp_path)
    assert (plain["dose"], edited["dose"]) == (0.0, 0.5)
    assert not plain["verdict"].startswith("edited")
    assert edited["cosine"] > 0.95
    assert edited["found"] == pytest.approx(0.5, abs=0.05)
    assert plain["low_rank"] == (how.kind == "adapter")


def test_what_is_finetuned_alone_is_what_changes(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    how = next(one for one in f.OF_TINY if one.name == "mlp outputs alone")
    base = tiny_folders["llama"]
    f.save(f.finetuned(base, how, f.byte_batches(0, 1), 0), tmp_path, torch.float32)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(3)}


def test_an_edit_takes_the_dose_out_of_every_writer_and_unties(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["qwen2"]
    out, unit = f.edited(base, 0.5, 0, tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, out))
    name = "model.embed_tokens.weight"
    torch.testing.assert_close(after[name] @ unit, 0.5 * before[name] @ unit, atol=1e-5, rtol=1e-4)
    assert torch.equal(after["lm_head.weight"], before[name])
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
