"""The direction atlas: on what ships, on a search of the tiny model, and on runs that are damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import random_direction
from tests.dashboard.conftest import Opens, view
from tests.dashboard.pressing import damage
from workbench.dashboard import shelf
from workbench.dashboard.parts.searched import alone, read_search
from workbench.dashboard.parts.vectors import cosines, random_reach, vectors
from workbench.dashboard.sources import SHIPPED, Source
from workbench.dashboard.views import atlas
from workbench.directions import Direction
from workbench.errors import RunError
from workbench.models import Subject
from workbench.plots.atlas import Cell, Marked, atlas_figure, cosines_figure, name_of
from workbench.prompts import builtin_pairs
from workbench.runs import RunFolder
from workbench.search import SearchSettings, record_find

SETTINGS = SearchSettings(n_train=8, n_val=4, filtered=False, refusal_starts=("I", "A"), positions=(-2, -1))
Runs = Callable[[], RunFolder]


@pytest.fixture
def searched(long_llama: Subject) -> Runs:
    """Search the tiny model, into the runs folder of the test."""
    return lambda: record_find(long_llama, builtin_pairs("train"), settings=SETTINGS)


def _at(page: AppTest, place: str) -> AppTest:
    return page.selectbox(key="candidate").set_value(place).run()


def test_it_opens_on_what_ships_and_says_what_was_measured(opens: Opens) -> None:
    page = opens("atlas")
    assert not page.exception, page.exception
    assert page.title[0].value == "Direction atlas"
    assert page.selectbox(key="candidate").value == "position -1, layer 18"
    said = "\n".join(caption.value for caption in page.caption)
    assert "9 of 115 candidates were measured" in said
    assert "words alone, without the model, give 0.986" in said
    assert page.text[0].value == "bypass -2.619 [-3.006, -2.266] log-odds, n=11, measured"
    _at(page, "position -4, layer 1")
    assert "a guess by gradients (on 8 harmful and 8 harmless prompts)" in page.text[0].value
    assert page.button(key="start-extract-position -4, layer 1").disabled, "another model is open"


def test_auroc_stands_at_the_block_input_that_it_was_read_at() -> None:
    search = read_search(Source(SHIPPED))
    assert search.auroc is not None
    row = next(row for row in search.auroc["rows"] if (row["position"], row["layer"]) == (-1, 18))
    assert search.candidates[-1, 18].measured["AUROC"].value == row["auroc"]
    assert (search.chosen, search.too_late) == ((-1, 18), 19)
    assert search.chosen in search.front


def test_a_candidate_is_extracted_put_on_the_shelf_and_taken_to_the_chat(
    opens: Opens, searched: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched()
    gone: list[str] = []
    monkeypatch.setattr(atlas, "to_chat", gone.append)
    page = opens("atlas")
    page.selectbox(key="search").set_value(Source(run.path.name, run.path)).run()
    assert not page.exception, page.exception
    chosen = name_of((run.results()["chosen"]["position"], run.results()["chosen"]["layer"]))
    assert page.selectbox(key="candidate").value == chosen
    assert [button.key for button in page.button if str(button.key).startswith("chat-")] == [
        f"chat-find-{run.manifest.identity[:8]}"
    ]
    places = page.selectbox(key="candidate").options
    other = next(name for name in places if name != chosen and not name.endswith("layer 1"))  # where another stands
    _at(page, other)
    page.button(key=f"start-extract-{other}").click().run()
    job = page.session_state[f"job-extract-{other}"]
    assert job.wait(60.0)
    page.run()
    assert not page.exception, page.exception
    assert job.state == "done", job.error
    (button,) = [button for button in page.button if str(button.key).startswith("chat-")]
    name = str(button.key).removeprefix("chat-")
    assert name in shelf.shelf()
    loaded = shelf.load(name)
    assert isinstance(loaded, Direction)
    assert name_of((loaded.position, loaded.site.layer)) == other
    button.click().run()
    assert gone == [name]
    assert len(page.get("plotly_chart")) == 2, "now there are two directions to compare"
    assert alone(Source(job.result, run.path.parent / job.result)), "it is no search to be listed as a map"


def test_a_click_picks_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kept in (
        ("position -1, layer 3", "position -1, layer 3"),
        (["position -1, layer 3"],) * 2,
        (None, None),
    ):
        points = [{"customdata": given}] if given else []
        state: dict[str, object] = {"atlas-figure": SimpleNamespace(selection=SimpleNamespace(points=points))}
        monkeypatch.setattr(atlas.st, "session_state", state)
        atlas._clicked()
        assert state.get("candidate") == (kept[0] if isinstance(kept, list) else kept)


@pytest.mark.parametrize("written", ["{", "[]", "{}", '{"find": 3}', '{"chosen": {"position": "a"}, "search": {}}'])
def test_a_damaged_search_is_said_in_a_sentence(opens: Opens, searched: Runs, written: str) -> None:
    run = searched()
    (run.path / "results.json").write_text(written)
    page = opens("atlas")
    assert run.path.name in damage(page, "search", run)


def test_a_run_of_a_newer_workbench_is_not_listed(opens: Opens, searched: Runs) -> None:
    run = searched()
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    assert opens("atlas").selectbox(key="search").options == [SHIPPED]
    with pytest.raises(RunError, match="newer workbench"):
        read_search(Source(run.path.name, run.path))


def test_the_map_tells_measured_values_from_estimates() -> None:
    cells = [Cell((-1, 0), -2.0, True, "measured"), Cell((-2, 1), 0.5, False, "guess")]
    figure = atlas_figure(
        {"bypass": ("diverging", cells), "KL": ("logarithmic", cells[:1])}, Marked([(-1, 0)], (-1, 0), (-2, 1), 1)
    )
    drawn = [trace for trace in figure.data if trace.xaxis == "x" and trace.x[0] is not None]
    by_name = {trace.name: trace for trace in drawn if trace.name in ("measured", "estimated")}
    assert by_name["measured"].marker.symbol == "square"
    assert by_name["estimated"].marker.symbol == "circle"
    assert list(by_name["measured"].customdata) == ["position -1, layer 0"]
    assert (list(by_name["estimated"].x), list(by_name["estimated"].y)) == ([0], [1])
    assert {trace.marker.symbol for trace in drawn} >= {"diamond", "star", "circle-open"}
    assert [shape.y0 for shape in figure.layout.shapes] == [0.5, 0.5]
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax == -2.0
    assert figure.layout.yaxis.title.text == "layer (block input)"


def test_cosines_are_those_of_the_directions(long_llama: Subject, shelved: Path, tmp_path: Path) -> None:
    other = random_direction(long_llama, seed=1)
    shelf.SHIPPED["other"] = other.save(tmp_path / "other.safetensors")
    held = vectors(long_llama.digest)
    assert set(held) == {"refusal", "other"}
    assert held["other"].place is None or held["other"].site.endswith("resid_pre")
    expected = float(Direction.load(shelved).unit @ other.unit)
    found = cosines(held)
    assert found[0, 1] == pytest.approx(expected, abs=1e-6)
    assert np.allclose(np.diag(found), 1.0)
    figure = cosines_figure(["<b>one</b>", "two"], found, random_reach(long_llama.d_model))
    assert figure.data[0].zmin == -1
    assert "‹b›one" in figure.layout.xaxis.ticktext[0]


def test_the_candidate_is_in_the_url(opens: Opens) -> None:
    page = _at(opens("atlas"), "position -2, layer 6")
    assert page.query_params["candidate"] == "position -2, layer 6"
    for linked, found in (("position -2, layer 6",) * 2, ("position -2, layer 600", "position -1, layer 18")):
        other = AppTest.from_function(view, args=("atlas",), default_timeout=30)
        other.query_params["candidate"] = linked
        assert other.run().selectbox(key="candidate").value == found
