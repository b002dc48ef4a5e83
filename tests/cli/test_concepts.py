"""`workbench concepts`: train, explain, steer, data and search on a tiny model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Run
from tests.concepts.planted import a_set
from workbench.concepts import rederive_bottleneck
from workbench.concepts.recording import MEASURED
from workbench.runs import RunFolder


@pytest.fixture(scope="module")
def concept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("concepts")
    for concept in a_set(2, 20).concepts:
        lines = [f"name = {json.dumps(concept.name)}", f"description = {json.dumps(concept.description)}"]
        lines += [f"{side} = {json.dumps(getattr(concept, side))}" for side in ("positive", "near_miss")]
        (folder / f"{concept.name}.toml").write_text("\n".join(lines))
    return folder


@pytest.fixture
def trained(run: Run, model: Path, concept_folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "bottleneck"
    options = ("--discovered", 16, "--epochs", 2, "--dtype", "float32")
    status, text, err = run("concepts", "train", model, "--concepts", concept_folder, *options, "--out", out, "--json")
    assert status == 0, err
    found = json.loads(text)
    assert set(found["concepts"]) == {"rain", "wind"}
    names = {score["name"] for score in found["scores"]}
    assert {"auroc", "auroc, shuffled labels", "share of residual", "probe on the stream after LEACE"} <= names
    assert all(score["n"] >= 2 for score in found["scores"])
    return out


def test_a_run_verifies_and_shows_its_tables(run: Run, trained: Path) -> None:
    status, text, err = run("runs", "verify", trained, "--json")
    assert (status, json.loads(text)["faults"]) == (0, []), err
    status, text, err = run("runs", "show", trained)
    assert status == 0, err
    assert "On test texts" in text
    assert not (trained / ".course.safetensors").exists()


def test_another_score_does_not_come_out_again(trained: Path) -> None:
    folder = RunFolder.open(trained)
    folder.manifest.scores[0] = folder.manifest.scores[0].model_copy(update={"value": 0.123})
    (fault,) = rederive_bottleneck(folder)
    assert "is recorded as 0.123" in fault
    held = load_file(trained / MEASURED)
    held["reading/scores"] = -held["reading/scores"]
    save_file(held, trained / MEASURED)
    assert any("concepts' figures" in fault for fault in rederive_bottleneck(RunFolder.open(trained)))


OPTIONS = ("--max-new-tokens", 6, "--dtype", "float32", "--json")


def test_a_reply_is_explained_with_figures(run: Run, model: Path, trained: Path, tmp_path: Path) -> None:
    asked = ("--bottleneck", trained, "--prompt", "Hello", "--out", tmp_path / "figures")
    status, text, err = run("concepts", "explain", model, *asked, *OPTIONS)
    assert status == 0, err
    found = json.loads(text)
    (one,) = found["explanations"]
    assert one["exact"]
    assert one["error"] < 1e-4
    assert [Path(file).name for file in found["figures"]] == ["0-map.html", "0-shares.html", "0-token.html"]
    assert all(Path(file).stat().st_size > 10_000 for file in found["figures"])


def test_steering_is_a_recipe_that_other_commands_take(run: Run, model: Path, trained: Path, tmp_path: Path) -> None:
    asked = ("--bottleneck", trained, "--prompt", "Hello")
    recipe = tmp_path / "recipe.json"
    call = ("concepts", "steer", model, *asked, "--amplify", "rain=300", "--suppress", "wind", "--out", recipe)
    status, text, err = run(*call, *OPTIONS)
    assert status == 0, err
    (row,) = json.loads(text)["replies"]
    assert row["plain"] != row["steered"]
    status, text, err = run("generate", model, "--prompt", "Hello", "--recipe", recipe, *OPTIONS)
    assert (status, json.loads(text)["replies"][0]["reply"]) == (0, row["steered"]), err


def test_training_texts_are_named(run: Run, model: Path, trained: Path, concept_folder: Path) -> None:
    asked = ("--bottleneck", trained, "--concept", "rain", "--concepts", concept_folder, "--prompt", "Hello")
    status, text, err = run("concepts", "data", model, *asked, "--n", 3, *OPTIONS)
    assert status == 0, err
    assert len(json.loads(text)["texts"]) == 3


def test_discovered_concepts_are_named_by_texts(run: Run, model: Path, trained: Path, concept_folder: Path) -> None:
    call = ("concepts", "discovered", model, "--bottleneck", trained, "--concepts", concept_folder, *OPTIONS[2:])
    status, text, err = run(*call)
    assert status == 0, err
    found = json.loads(text)["discovered"]
    assert sorted(each["number"] for each in found) == list(range(16))
    assert [each["share"] for each in found] == sorted((each["share"] for each in found), reverse=True)
    assert all(each["texts"] for each in found if each["share"] > 0)
    status, text, err = run(*call, "--words", "rain")
    assert status == 0, err
    assert "rain" in json.loads(text)["found"]


def test_a_search_finds_by_words(run: Run) -> None:
    status, text, err = run("concepts", "search", "a recipe for soup with garlic", "--json")
    assert status == 0, err
    assert next(iter(json.loads(text)["found"])) == "cooking"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("steer", "--prompt", "x"), "No concept is to be changed; give --amplify"),
        (
            ("steer", "--prompt", "x", "--amplify", "joy"),
            "There is no concept 'joy'; the bottleneck knows: rain, wind.",
        ),
        (("steer", "--prompt", "x", "--amplify", "rain=much"), "'rain=much' is not NAME=NUMBER."),
        (("explain",), "Give either --prompt TEXT (it may be repeated) or --prompts SET."),
        (("data", "--concept", "joy", "--prompt", "x"), "There is no concept 'joy'"),
    ],
)
def test_wrong_use_is_one_sentence(
    options: tuple[str, ...], said: str, run: Run, model: Path, trained: Path, concept_folder: Path
) -> None:
    more = ("--concepts", concept_folder) if options[0] == "data" else ()
    call = ("concepts", options[0], model, "--bottleneck", trained, *options[1:], *more, *OPTIONS)
    status, _, err = run(*call)
    assert status == 2
    assert said in " ".join(err.split())


def test_a_bottleneck_of_another_model_is_refused(run: Run, trained: Path, tiny_folders: dict[str, Path]) -> None:
    status, _, err = run(
        "concepts", "explain", tiny_folders["gpt2"], "--bottleneck", trained, "--prompt", "x", *OPTIONS
    )
    assert status == 2
    assert "The bottleneck was found in" in " ".join(err.split())


def test_what_is_no_bottleneck_is_refused(run: Run, model: Path, direction: Path) -> None:
    status, _, err = run("concepts", "explain", model, "--bottleneck", direction, "--prompt", "x", *OPTIONS)
    assert status == 2
    assert "is not a bottleneck file" in " ".join(err.split())


def test_training_texts_are_not_named_where_parts_are_no_sum(
    run: Run, model: Path, concept_folder: Path, tmp_path: Path
) -> None:
    where = ("--concepts", concept_folder, "--dtype", "float32", "--json")
    small = ("--site", "1.resid_pre", "--discovered", 8, "--epochs", 1, "--out", tmp_path / "inner")
    status, _, err = run("concepts", "train", model, *small, *where)
    assert status == 0, err
    asked = ("--bottleneck", tmp_path / "inner", "--concept", "rain", "--prompt", "x")
    status, _, err = run("concepts", "data", model, *asked, *where)
    assert status == 2
    assert "train a bottleneck at the last site" in " ".join(err.split())


def test_texts_are_labelled_into_a_file(run: Run, model: Path, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "labelled.jsonl"
    texts.write_text("rain and wind\nbread and stone\n")
    asked = ("concepts", "label", model, "--texts", texts, "--out", out, "--dtype", "float32", "--json")
    status, text, err = run(*asked, "--concept", "weather=rain or wind")
    assert status == 0, err
    counts = json.loads(text)["labels"].get("weather", {"shown": 0, "not shown": 0})
    assert sum(counts.values()) == len(out.read_text().splitlines())
    always = {
        "W_enc": torch.zeros(32, 1),
        "W_dec": torch.zeros(1, 32),
        "b_enc": torch.ones(1),
        "b_dec": torch.zeros(32),
    }
    save_file(always, tmp_path / "sae.safetensors")
    features = ("--sae", tmp_path / "sae.safetensors", "--site", "1.resid_post", "--feature", "always=0")
    status, text, err = run(*asked, *features)
    assert (status, json.loads(text)["labels"]) == (0, {"always": {"shown": 2, "not shown": 0}}), err
    assert len(out.read_text().splitlines()) == 2
    status, _, err = run(*asked, *features, "--concept", "weather")
    assert status == 2, err
    status, _, err = run(*asked, "--feature", "a=1")
    assert (status, "--sae FILE, --site SITE" in " ".join(err.split())) == (2, True), err
