"""Exporting from the page: what comes out, its certificate, and what cannot be."""

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import ended, errors, worked
from workbench.dashboard.parts import certified
from workbench.dashboard.parts.certified import beyond, certificate_of, exported, files_of, place_for, zipped
from workbench.dashboard.sources import SHIPPED
from workbench.interventions import Recipe
from workbench.plots.certificate import certificate_figure
from workbench.runs import runs_root
from workbench.weights.export import exports


@pytest.fixture
def page(opens: Opens) -> AppTest:
    return opens("export")


def test_it_opens_on_a_certificate_that_ships(page: AppTest) -> None:
    assert not page.exception, page.exception
    assert page.title[0].value == "Export"
    assert page.selectbox(key="certificate").value == SHIPPED
    assert "Passed" in page.success[0].value
    assert page.get("plotly_chart")
    assert beyond(certificate_of(SHIPPED)) == []


def test_every_registered_format_is_offered(page: AppTest) -> None:
    assert len(page.selectbox(key="form").options) == len(list(exports))


def test_an_export_is_kept_with_its_certificate_and_can_be_downloaded(page: AppTest) -> None:
    job = worked(page, "export")
    assert page.selectbox(key="certificate").value == job.result
    assert exported() == [job.result, SHIPPED]
    assert page.dataframe[0].value["the export"].max() == 0.0
    with zipfile.ZipFile(io.BytesIO(zipped(str(job.result)))) as made:
        names = {name.removeprefix(f"{job.result}/") for name in made.namelist()}
    assert {"recipe.json", "certificate.json", "README.md", "SHA256SUMS"} < names
    assert names == {name for name, _ in files_of(str(job.result))}
    assert len(Recipe.load(runs_root() / str(job.result) / "recipe.json")) == 1


def test_a_second_export_of_the_same_goes_to_another_folder(page: AppTest) -> None:
    first, second = ended(page, "export").result, ended(page, "export").result
    assert second == f"{first}-2"
    assert place_for("recipe", str(first).rpartition("-")[2]).name == f"{first}-3"


@pytest.mark.parametrize(
    ("form", "recipe", "says"),
    [
        ("gguf", "ablate(refusal) @ all", "takes something away; export it as hf or lora"),
        ("recipe", "ablate(other) @ all", "no direction called 'other'"),
        ("recipe", "ablate(refusal) @ 99", "no layer 99"),
        ("recipe", "ablate(refusal", "ablate"),
        ("recipe", "nothing", "nothing to export"),
        ("recipe", 'ablate("../../etc/passwd") @ all', "no direction called"),
        ("hf", "ablate(refusal) @ all [generated]", "generated"),
    ],
)
def test_what_cannot_be_exported_is_said_with_the_reason(page: AppTest, form: str, recipe: str, says: str) -> None:
    page.selectbox(key="form").set_value(form)
    page.text_input(key="recipe").set_value(recipe).run()
    job = ended(page, "export")
    assert job.state == "failed"
    assert job.error
    assert says in errors(page)
    assert exported() == [SHIPPED]


def test_a_way_of_writing_that_a_format_does_not_know_is_refused(page: AppTest) -> None:
    page.selectbox(key="weights").set_value("preserve-rows").run()
    assert ended(page, "export").state == "failed"
    assert "export hf" in errors(page)


def test_large_files_are_not_sent_through_the_browser(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(page, "export")
    assert page.get("download_button")[-1].proto.label == "Download"
    monkeypatch.setattr("workbench.dashboard.views.export.LARGEST_MB", 0)
    page.run()
    assert page.code[-1].value == job.result or any(code.value == job.result for code in page.code)
    assert [each.proto.label for each in page.get("download_button")] == ["CSV"]


def test_a_link_in_an_export_is_not_followed(page: AppTest, tmp_path: Path) -> None:
    name = str(ended(page, "export").result)
    (tmp_path / "secret").write_text("secret")
    (runs_root() / name / "link").symlink_to(tmp_path / "secret")
    with zipfile.ZipFile(io.BytesIO(zipped(name))) as made:
        assert f"{name}/link" not in made.namelist()


@pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"export": 7}', '{"export": {}, "tolerance": []}'])
def test_a_damaged_certificate_is_one_sentence(opens: Opens, damaged: str) -> None:
    folder = runs_root() / "export-recipe-00000000"
    folder.mkdir(parents=True)
    (folder / "certificate.json").write_text(damaged)
    page = opens("export")
    assert not page.exception, page.exception
    assert len(page.error) == 1


def test_a_name_from_the_url_is_no_path(opens: Opens) -> None:
    page = opens("export")
    page.query_params["certificate"] = "../../../etc"
    page.run()
    assert not page.exception
    assert page.selectbox(key="certificate").value == SHIPPED


def test_what_is_beyond_its_limit_is_not_passed() -> None:
    found = certificate_of(SHIPPED)
    for name, limit in found.tolerance.items():
        worst = limit - 0.01 if certified.MEASURES[name].share else 2 * limit
        for value in (worst, math.nan):
            export = found.export.model_copy(update={name: value})
            assert len(beyond(found.model_copy(update={"export": export}))) == 1


def test_the_figure_holds_every_distance_and_a_zero_at_the_edge() -> None:
    distances: dict[str, Sequence[float]] = {"the export": [0.0, 1e-3], "rounded": [1e-2, 2e-3], "plain": [8.0, 0.5]}
    figure = certificate_figure(distances, ["largest", "KL"], {"KL": 4e-3}, "distance")
    marks = {trace.name: trace for trace in figure.data if trace.name}
    assert list(marks) == ["the export", "rounded", "plain", "allowed, at most"]
    assert list(marks["plain"].x) == [8.0, 0.5]
    assert list(marks["the export"].x) == [1e-4, 1e-3]
    assert list(marks["the export"].customdata) == ["0", "0.001"]
    assert (list(marks["allowed, at most"].x), list(marks["allowed, at most"].y)) == ([4e-3], ["KL"])
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "distance"
