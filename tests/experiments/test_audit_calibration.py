"""The calibration of the audit: chosen on one half, reported on the other; its checkpoints are what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from experiments.audit_calibration import counted, limits_of, summarised, valued
from experiments.auditing import finetunes as f
from experiments.auditing.cases import Base, Case, tiny_cases
from experiments.ship import main as ship
from experiments.shipping import calibration as shipping
from experiments.shipping.calibration import PLACE
from workbench.errors import RunError
from workbench.runs import RunFolder, RunManifest
from workbench.weights.audit.calibration import Calibration, calibration

REAL, DOSES = "smollm2-135m-instruct", (0.25, 0.5, 1.0)


def row(model: str, seed: int, together: float, dose: float = 0.0, **more: Any) -> dict[str, Any]:
    held = {"finetune": "a", "kind": "finetuned", "low_rank": False, "alone": 0.0, "tiny": model != REAL}
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
    limits = limits_of(rows)
    hits = counted(rows, limits, REAL, DOSES)
    found = summarised(rows, limits, hits, REAL)
    assert found["limits"] == {"together": 0.9, "alone": 0.95}
    assert found["chosen_on"] == {"hits": 0, "n": 2}
    assert found["called_edited"]["tiny, finetuned"] == {"hits": 1, "n": 3}
    assert found["called_edited"][f"{REAL}, finetuned"] == {"hits": 0, "n": 1}
    assert found["called_edited"][f"{REAL}, rewritten"] == {"hits": 0, "n": 1}
    assert found["found"]["tiny, dose 0.25"] == {"hits": 2, "n": 3}
    assert found["found"][f"{REAL}, dose 0.25"] == {"hits": 0, "n": 1}
    assert found["low_rank"]["tiny, adapter"] == {"hits": 1, "n": 1}
    assert found["low_rank"]["tiny, finetuned"] == {"hits": 0, "n": 2}
    assert Calibration.model_validate(found).limits.alone == 0.95
    values = valued(hits)
    assert values["found"]["tiny, dose 0.25"].name == "edited/tiny, dose 0.25/called edited"
    assert values["found"]["tiny, dose 0.25"].values == (1.0, 0.0, 1.0)
    assert "tiny, dose 1" not in values["found"]  # of none no rate is said


def test_the_stored_result_is_what_the_verdict_reads() -> None:
    stored = json.loads(PLACE.read_text())
    assert stored["limits"] == calibration().limits.model_dump()
    assert stored["chosen_on"]["hits"] == 0
    assert 0.5 < stored["limits"]["together"] < stored["limits"]["alone"] < 1.0
    assert len(stored["worst"]) == len(f.OF_TINY) + len(f.OF_REAL)


@pytest.mark.parametrize("name", ["8 bits and back", "adamw, 2 steps", "adapter, rank 4", "embedding alone"])
def test_a_case_is_audited_as_it_is_and_edited(tiny_folders: dict[str, Path], name: str) -> None:
    how = next(one for one in f.OF_TINY if one.name == name)
    base = tiny_folders["llama"]
    case = Case(Base("llama", True, str(base), lambda: base, torch.float32), how, 0, f.byte_batches(0, 1), 0.5)
    plain, edited = case.measured()["audits"]
    assert case.name == f"tiny llama, {name}, seed 0"
    assert (plain["dose"], edited["dose"]) == (0.0, 0.5)
    assert not plain["verdict"].startswith("edited")
    assert edited["cosine"] > 0.95
    assert edited["found"] == pytest.approx(0.5, abs=0.05)
    assert plain["low_rank"] == (how.kind == "adapter")


def test_a_tiny_model_is_made_once_and_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(f, "make_tiny", lambda kind, seed, dtype, folder: made.append(folder) or folder)
    first, *others = tiny_cases("gpt2", 2, tmp_path, DOSES)
    assert made == []
    assert {case.base.folder() for case in (first, *others)} == {Path(first.base.known)}
    assert made == [tmp_path / "gpt2-2"]
    assert [case.dose for case in (first, *others)][:3] == [0.5, 1.0, 0.25]
    assert {case.base.dtype for case in others} == {torch.bfloat16}


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


def test_a_run_ships_as_the_verdict_reads_it_and_another_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = RunManifest(command="experiment", settings={}, model={"name": REAL}, data={})
    run, other = (RunFolder.start(manifest, tmp_path / name) for name in ("run", "other"))
    stored = json.loads(PLACE.read_text())
    run.finish({"calibration": stored}, [])
    other.finish({}, [])
    monkeypatch.setattr(shipping, "PLACE", tmp_path / "calibration.json")
    ship(["calibration", str(run.path)])
    assert json.loads((tmp_path / "calibration.json").read_text()) == stored
    with pytest.raises(RunError, match="calibrates nothing"):
        ship(["calibration", str(other.path)])
