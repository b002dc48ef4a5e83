"""Recipes on the command line: written, named, compared, streamed."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import random_direction
from workbench.cli.recipes import Names
from workbench.interventions import Ablate
from workbench.models import Subject

OPTIONS = ("--max-new-tokens", 5, "--dtype", "float32")


@pytest.fixture
def two(llama: Subject, tmp_path: Path) -> tuple[str, str]:
    paths = [random_direction(llama, seed).save(tmp_path / f"{seed}.safetensors") for seed in (1, 2)]
    return f"refusal={paths[0]}", f"formal={paths[1]}"


def test_a_written_recipe_says_what_its_parts_say(run: Run, model: Path, two: tuple[str, str]) -> None:
    named = ("--direction", two[0], "--direction", two[1])
    text = "ablate(refusal) @ all + 0.5 * add(formal) @ 1 [generated]"
    call = ("generate", model, "--prompt", "Hello", *OPTIONS, "--json")
    status, out, err = run(*call, *named, "--recipe", text)
    assert status == 0, err
    assert json.loads(out)["recipe"] == text
    path = two[0].partition("=")[2]
    assert run(*call, "--recipe", f'ablate("{path}") @ all')[0] == 0


def test_comparing_prints_the_unedited_reply_and_each_recipe_in_columns(
    run: Run,
    model: Path,
    two: tuple[str, str],
) -> None:
    recipes = ("--recipe", "add(refusal) @ 1", "--recipe", "-2 * add(refusal) @ all")
    call = ("generate", model, "--prompt", "Hello", "--prompt", "Why?", *OPTIONS, "--direction", two[0], "--compare")
    status, out, err = run(*call, *recipes, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["recipes"] == ["nothing", "add(refusal) @ 1", "-2 * add(refusal) @ all"]
    assert [row["prompt"] for row in found["replies"]] == ["Hello", "Why?"]
    for row in found["replies"]:
        alone = json.loads(run("generate", model, "--prompt", row["prompt"], *OPTIONS, "--json")[1])
        assert row["replies"][0] == alone["replies"][0]["reply"]
    assert found["replies"][0]["replies"][2] != found["replies"][0]["replies"][0]
    shown = run(*call, *recipes, "--recipe", "add(refusal) @ 1 [generated]")[1]
    assert "unedited" in shown
    assert "[generated]" in shown.replace("\n", "")


def test_streaming_prints_the_reply_and_measures_every_token(run: Run, model: Path, two: tuple[str, str]) -> None:
    call = ("generate", model, "--prompt", "Hello", *OPTIONS, "--direction", two[0], "--add", 2)
    whole = json.loads(run(*call, "--json")[1])["replies"][0]["reply"]
    status, out, err = run(*call, "--stream", "--kl", "--json")
    assert status == 0, err
    told = json.loads(out)["replies"][0]
    assert told["reply"] == whole
    assert len(told["tokens"]) >= 5
    assert all(token["kl"] > 0 and list(token["watched"]) == ["refusal"] for token in told["tokens"])
    status, out, _ = run(*call, "--stream")
    assert status == 0
    assert "mean coordinate along refusal" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--recipe", "ablate(refusal) @"), "character 18: a site is expected here"),
        (("--recipe", "ablate(kindness) @ all"), "no direction called 'kindness' (there are: refusal)"),
        (("--recipe", "ablate(refusal) @ 9"), "no layer 9 in llama"),
        (("--recipe", "add(refusal) @ 1", "--ablate"), "either --recipe, or --direction with --ablate"),
        (("--recipe", "add(refusal) @ 1", "--recipe", "add(refusal) @ 2"), "add --compare to see them"),
        (("--recipe", "add(refusal) @ 1", "--compare", "--stream"), "either --compare or --stream"),
        (("--recipe", "rotate(refusal, refusal) @ 1"), "the axes are parallel"),
        (("--recipe", "add(refusal, strength=1e400) @ 1"), "the number is inf"),
        (("--recipe", "add(refusal) @ 1 if cosine(refusal) > 0 @ 2"), "is read at 2.resid_pre, after 1.resid_pre"),
        (("--direction", "nowhere", "--ablate"), "no direction at nowhere"),
        (("--direction", "REFUSAL", "--ablate"), "are about one --direction"),
        (("--direction", "AGAIN", "--ablate"), "Two directions are called refusal"),
        (("--recipe", " + ".join(["add(nobody) @ 1"] * 40)), "no direction called 'nobody'"),
        (("--recipe", "ablate(\0) @ 1"), "character 8"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_sentence(
    run: Run,
    model: Path,
    two: tuple[str, str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    words = [{"REFUSAL": two[1], "AGAIN": two[0]}.get(word, word) for word in arguments]
    status, out, err = run("generate", model, "--prompt", "Hi", *OPTIONS, "--direction", two[0], *words)
    assert (status, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err


def test_a_recipe_of_an_evaluation_is_read_from_its_run(
    run: Run,
    model: Path,
    two: tuple[str, str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "judged"
    sets = ("--n", 4, "--max-new-tokens", 3, "--dtype", "float32")
    text = "0.5 * clamp(refusal, value=1) @ 1-2"
    status, _, err = run("evaluate", model, "--direction", two[0], "--recipe", text, *sets, "--out", out)
    assert status == 0, err
    assert run("runs", "verify", out)[0] == 0
    assert run("generate", model, "--prompt", "Hi", *OPTIONS, "--recipe", out)[0] == 0


def test_a_name_is_given_or_is_the_file_s_own(llama: Subject, tmp_path: Path) -> None:
    path = random_direction(llama).save(tmp_path / "style.safetensors")
    assert list(Names.of([str(path)]).held) == ["style"]
    names = Names.of([f"a.b-c={path}"])
    assert Ablate(names.only()).at("all").written(names.write) == "ablate(a.b-c) @ all"
    odd = Names({"two words": names.only()})
    assert Ablate(names.only()).at(1).written(odd.write) == 'ablate("two words") @ 1'


def test_a_cone_is_found_and_used_as_a_recipe(
    run: Run,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.search.descent.STEPS", 2)
    monkeypatch.setattr("workbench.search.lessons.NEW_TOKENS", 3)
    monkeypatch.setattr("workbench.evaluation.refusal._from_own_refusals", _sorry)
    out = tmp_path / "cone"
    options = ("--n-train", 8, "--n-val", 4, "--no-filter", "--dtype", "float32", "--out", out)
    status, said, err = run("cone", model, *options, "--dimension", 2)
    assert status == 0, err
    assert "A cone of 2 axes" in said
    assert run("runs", "verify", out)[0] == 0
    assert "A cone of 2 axes" in run("runs", "show", out)[1]
    assert run("generate", model, "--prompt", "Hi", *OPTIONS, "--recipe", out)[0] == 0
    assert "1 to 8 axes" in run("cone", model, "--dimension", 9, "--no-filter", "--out", tmp_path / "x")[2]


def _sorry(*_: object) -> object:
    from workbench.evaluation.refusal import RefusalTokens

    return RefusalTokens((40, 50), ("a", "b"), "given")


def test_nothing_is_drawn_over_a_stream(
    run: Run, model: Path, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("workbench.runs.reporters.RichReporter.task", lambda self, title, total: drawn.append(title))
    from workbench.cli import telling

    inside: list[bool] = []
    tell = telling._style

    def style(token: object) -> str:
        from workbench.runs import Silent
        from workbench.runs.progress import _reporter

        inside.append(isinstance(_reporter.get(), Silent))
        return tell(token)  # type: ignore[arg-type]

    monkeypatch.setattr(telling, "_style", style)
    assert run("generate", model, "--prompt", "Hi", *OPTIONS, "--direction", two[0], "--add", 1, "--stream")[0] == 0
    assert inside
    assert all(inside)
    assert drawn == []
