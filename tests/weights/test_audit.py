"""The audit of a checkpoint: planted edits are found, measured and shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from tests.conftest import ARCHITECTURES, random_direction
from tests.tiny import CONFIGS, save_model
from tests.weights.checkpoints import (
    FILE,
    Tensors,
    ablated,
    adapter,
    copied,
    cosine,
    edited,
    in_bfloat16,
    noise,
    unit_of,
)
from workbench.directions import Direction
from workbench.errors import DirectionError
from workbench.models import Subject, writers_of_folder
from workbench.models.sources import resolve
from workbench.weights import Orthogonalise, PreserveColumns, PreserveRows, WeightEdit
from workbench.weights.audit import audit_weights
from workbench.weights.audit.calibration import calibration
from workbench.weights.audit.report import chance
from workbench.weights.audit.verdict import ONE, SEVERAL


@pytest.mark.parametrize("dose", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_planted_edit_is_found_on_every_architecture(
    tiny_folders: dict[str, Path], tmp_path: Path, architecture: str, dose: float
) -> None:
    base, unit = tiny_folders[architecture], unit_of()
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit, dose)), str(base))
    assert audit.verdict == ONE
    assert audit.form == "orthogonalised"
    assert cosine(audit, unit) > 0.9999
    assert audit.doses["all"].value == pytest.approx(dose, abs=0.001)
    assert all(one.dose == pytest.approx(dose, abs=0.01) for one in audit.matrices)
    assert all(one.rank == 1 and one.edited for one in audit.matrices)
    assert len(audit.matrices) == sum(len(writer.names) for writer in writers_of_folder(base))
    left = audit.left
    assert left is not None
    assert left.value == pytest.approx(1 - dose, abs=0.001)


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "mixtral"])
def test_an_edit_in_bfloat16_has_rank_one_though_rounding_has_every_rank(
    tiny_folders: dict[str, Path], tmp_path: Path, architecture: str
) -> None:
    base, unit = in_bfloat16(tiny_folders[architecture], tmp_path / "b"), unit_of()
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit, 0.1)), str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.999
    assert audit.doses["all"].value == pytest.approx(0.1, abs=0.003)
    assert [one.rank for one in audit.matrices] == [1] * len(audit.matrices)
    assert 0 < audit.explained["rounding"] < 0.1
    assert audit.explained["other"] < 0.01


def test_an_edit_of_mlps_alone_is_one_of_mlps_alone(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    suspect = edited(base, tmp_path / "s", lambda w: ablated(unit, 0.5) if w.component == "mlp_out" else None)
    audit = audit_weights(suspect, str(base))
    assert audit.verdict == ONE
    assert set(audit.doses) == {"all", "mlp_out"}
    assert [one.name for one in audit.tensors if one.status == "changed"] == [one.name for one in audit.matrices]


def test_an_edit_of_one_matrix_is_found(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    suspect = edited(base, tmp_path / "s", lambda w: ablated(unit, 0.5) if str(w) == "1.mlp_out" else None)
    audit = audit_weights(suspect, str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.999
    assert audit.doses["all"] == audit.doses["mlp_out"].model_copy(update={"name": "all"})
    assert (audit.doses["all"].n, audit.doses["all"].value) == (1, pytest.approx(0.5, abs=0.001))


def test_one_matrix_alone_has_to_fit_better_than_many_together(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    many = copied(Path(edited(base, tmp_path / "a", lambda _: ablated(unit, 0.5))), tmp_path / "many", noise(0.15))
    noisy = load_file(Path(many) / FILE)
    name = "model.layers.1.mlp.down_proj.weight"
    one = copied(base, tmp_path / "one", lambda tensors: tensors.update({name: noisy[name]}))
    assert audit_weights(many, str(base)).verdict == ONE
    alone = audit_weights(one, str(base))
    assert (alone.edited, alone.fit) == (False, 0.0)
    assert 0.5 < alone.fit_alone < calibration().limits.alone


def test_an_edit_under_a_large_adapter_is_found_where_it_is_bare(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    adapted = copied(base, tmp_path / "a", adapter(4, 0.3))
    audit = audit_weights(edited(Path(adapted), tmp_path / "s", lambda _: ablated(unit, 0.25)), str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.999
    assert audit.doses["embed"].value == pytest.approx(0.25, abs=0.001)


def test_one_direction_that_several_matrices_show_alone_is_one(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()

    def adapt_attention(tensors: Tensors) -> None:
        others = {name: tensor for name, tensor in tensors.items() if "self_attn" not in name}
        adapter(4, 1.0)(tensors)
        tensors.update(others)

    adapted = copied(base, tmp_path / "a", adapt_attention)
    audit = audit_weights(edited(Path(adapted), tmp_path / "s", lambda _: ablated(unit, 0.25)), str(base))
    assert audit.fit < audit.calibration.limits.together
    assert (audit.verdict, len(audit.directions)) == (ONE, 1)
    assert {one.component for one in audit.matrices if one.edited} == {"embed", "mlp_out"}


def test_a_reflection_is_an_edit_of_dose_two_whose_form_nothing_tells(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit, 2.0)), str(base))
    assert (audit.verdict, audit.form) == (ONE, "")
    assert audit.doses["all"].value == pytest.approx(2.0, abs=0.001)


def test_noise_on_a_common_edit_makes_no_direction_of_its_own(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["gemma3"], unit_of()
    suspect = copied(Path(edited(base, tmp_path / "e", lambda _: ablated(unit, 0.5))), tmp_path / "s", noise(0.1))
    audit = audit_weights(suspect, str(base))
    assert audit.verdict == ONE
    assert audit.doses["all"].value == pytest.approx(0.5, abs=0.05)


def test_every_layer_has_its_own_dose(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    doses = {0: 0.2, 1: 0.9, 2: -0.4}
    suspect = edited(base, tmp_path / "s", lambda w: ablated(unit, doses[w.layer]))
    audit = audit_weights(suspect, str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.9999
    for one in audit.matrices:
        assert one.dose == pytest.approx(doses[one.layer], abs=0.01)


def test_doses_equal_those_of_a_plain_regression(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    generator = torch.Generator().manual_seed(1)
    suspect = edited(base, tmp_path / "s", lambda _: ablated(unit, 0.5))
    noisy = load_file(Path(suspect) / FILE)
    for name in noisy:
        noisy[name] = noisy[name] + 0.01 * noisy[name].std() * torch.randn(noisy[name].shape, generator=generator)
    save_file(noisy, Path(suspect) / FILE, metadata={"format": "pt"})
    audit = audit_weights(suspect, str(base))
    before, after, found = load_file(base / FILE), load_file(Path(suspect) / FILE), audit.directions[0]
    assert audit.verdict == ONE
    for one in audit.matrices:
        old, change = before[one.name].double(), (after[one.name] - before[one.name]).double()
        if one.component == "embed":
            old, change = (old - old.mean(dim=0)).T, (change - change.mean(dim=0)).T
        y, z = found.double() @ old, found.double() @ change
        slope = torch.linalg.lstsq(y[:, None], z[:, None]).solution.item()
        assert one.dose == pytest.approx(-slope, abs=0.003)
        assert one.fit == pytest.approx(float((slope * y).square().sum() / z.square().sum()), abs=0.003)


def test_two_directions_are_several_and_their_span_is_found(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]
    span = torch.linalg.qr(torch.stack([unit_of(seed=1), unit_of(seed=2)]).T).Q.T
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(span, 0.5)), str(base))
    assert (audit.verdict, len(audit.directions)) == (SEVERAL, 2)
    torch.testing.assert_close(audit.directions.T @ audit.directions, span.T @ span, atol=0.01, rtol=0)
    assert audit.doses["all"].value == pytest.approx(0.5, abs=0.01)


def test_a_direction_for_each_layer_is_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, options = CONFIGS["llama"]
    monkeypatch.setitem(CONFIGS, "deep", (kind, options | {"num_hidden_layers": 7}))
    base = save_model("deep", tmp_path / "deep")
    units = [unit_of(seed=layer) for layer in range(7)]
    audit = audit_weights(edited(base, tmp_path / "s", lambda w: ablated(units[w.layer], 1.0)), str(base))
    assert audit.verdict == SEVERAL
    assert len(audit.directions) >= 5
    assert sum(one.edited for one in audit.matrices) >= 14
    assert audit.doses["all"].value == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("how", "form"),
    [
        (Orthogonalise(), "orthogonalised"),
        (PreserveColumns(), "columns kept at their length"),
        (PreserveRows(), "rows kept at their length"),
    ],
)
def test_what_was_kept_at_its_length_is_told(
    tiny_folders: dict[str, Path], tmp_path: Path, how: WeightEdit, form: str
) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit, 1.0), how), str(base))
    assert (audit.verdict, audit.form) == (ONE, form)
    assert cosine(audit, unit) > 0.99
    assert audit.doses["all"].value == pytest.approx(1.0, abs=0.05)


def test_what_was_found_stands_beside_a_direction_and_chance(
    llama: Subject, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, mine, other = tiny_folders["llama"], random_direction(llama, 1), random_direction(llama, 2)
    suspect = edited(base, tmp_path / "s", lambda _: ablated(mine.unit, 0.5))
    same = audit_weights(suspect, str(base), direction=mine).likeness
    apart = audit_weights(suspect, str(base), direction=other).likeness
    assert same is not None
    assert same.dose is not None
    assert apart is not None
    assert apart.dose is not None
    assert same.cosine == pytest.approx(1.0, abs=1e-4)
    assert same.dose.value == pytest.approx(0.5, abs=0.001)
    assert apart.cosine == pytest.approx(abs(float(mine.unit @ other.unit)), abs=1e-3)
    assert not any("was found in" in note for note in audit_weights(suspect, str(base), direction=mine).notes)
    stray = replace(mine, model_digest="another")
    assert any("was found in" in note for note in audit_weights(suspect, str(base), direction=stray).notes)
    assert same.chance == apart.chance == pytest.approx(chance(32, 1))


@pytest.mark.parametrize(("width", "directions"), [(32, 1), (32, 3), (896, 1)])
def test_chance_is_that_of_random_directions(width: int, directions: int) -> None:
    drawn = normalize(torch.randn(20000, width, generator=torch.Generator().manual_seed(0)), dim=1)
    seen = drawn[:, :directions].norm(dim=1).quantile(0.95)
    assert chance(width, directions) == pytest.approx(float(seen), rel=0.03)


def test_a_direction_of_another_width_is_refused(tiny_folders: dict[str, Path], llama: Subject) -> None:
    wide = Direction.from_raw(
        torch.ones(8), torch.zeros(8), site=random_direction(llama).site, position=-1, method="x",
        model_name="other", model_digest="0",
    )  # fmt: skip
    base = str(tiny_folders["llama"])
    with pytest.raises(DirectionError, match=r"8 wide .* is 32 wide"):
        audit_weights(base, base, direction=wide)


def test_every_verdict_carries_its_error_rates(tiny_folders: dict[str, Path]) -> None:
    base = str(tiny_folders["llama"])
    audit = audit_weights(base, base)
    assert all(score.n >= 1 and score.low is not None for score in audit.false_positives.values())
    assert max(score.n for score in audit.false_positives.values()) >= 100
    assert all(score.n >= 1 for score in audit.detections.values())
    said = audit.to_json()
    assert said["false_positives"].keys() == calibration().called_edited.keys()
    assert json.loads(json.dumps(said)) == said


def test_an_audit_shows_itself(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit, 0.5)), str(base))
    assert repr(audit).startswith("Audit(s against llama: edited along one direction, dose 0.5 [")
    table = audit.to_pandas()
    assert len(table) == len(audit.tensors)
    assert table.set_index("name").dose["model.embed_tokens.weight"] == pytest.approx(0.5, abs=0.01)
    drawn = {trace.name for trace in audit.plot().data}
    assert drawn == {"embed", "attn_out", "mlp_out"}


@pytest.mark.real
@pytest.mark.parametrize("dose", [0.25, 1.0])
def test_an_edit_of_the_embedded_model_is_found_and_measured(tmp_path: Path, dose: float) -> None:
    name = "qwen2.5-coder-0.5b-instruct"
    unit = unit_of(896, seed=5)
    suspect = edited(resolve(name, "bfloat16").folder, tmp_path / "s", lambda _: ablated(unit, dose))
    audit = audit_weights(suspect, name)
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.99
    assert audit.doses["all"].value == pytest.approx(dose, rel=0.02)
