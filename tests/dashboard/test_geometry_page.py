"""The page of the geometry: what ships, what is measured on a tiny model, and what a lasso lists."""

import json
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from experiments.shipping.geometry import distil
from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import worked
from workbench.dashboard import sources
from workbench.dashboard.parts.shape import measures, planes, wide_table
from workbench.dashboard.views.geometry import _numbers
from workbench.errors import RunError
from workbench.prompts import builtin_prompts


@pytest.fixture
def shipped() -> dict[str, Any]:
    return sources.shipped("geometry")


def test_it_opens_on_what_ships_without_the_model(opens: Opens, shipped: dict[str, Any]) -> None:
    page = opens("geometry")
    assert not page.exception, page.exception
    assert page.title[0].value == "Geometry"
    assert len(page.get("plotly_chart")) == 2 + bool(shipped["tokens"])
    assert "gap of the means" in page.dataframe[1].value.columns
    assert shipped["source"]["command"] in [code.value for code in page.code]


def test_what_ships_is_of_built_in_prompts_that_are_not_locked(shipped: dict[str, Any]) -> None:
    known = {prompt.text for name in ("harmful", "harmless") for prompt in builtin_prompts(name, "train")}
    assert set(shipped["planes"]["texts"]) <= known
    assert {"command", "model", "n", "started", "versions"} <= set(shipped["source"])


def test_the_slider_moves_through_every_layer_in_the_browser(shipped: dict[str, Any]) -> None:
    flat = shipped["planes"]
    figure = planes(flat, opens=7)
    assert [frame.name for frame in figure.frames] == [str(layer) for layer in flat["layers"]]
    assert figure.layout.sliders[0].active == flat["layers"].index(7)
    assert all(step.method == "animate" for step in figure.layout.sliders[0].steps)
    frame, place = figure.frames[7], flat["layers"].index(7)
    told = [frame.layout.xaxis.title.text, frame.layout.yaxis.title.text]
    parts = np.var(np.array(flat["points"][place]), axis=0)
    shares = 100 * flat["held"][place] * parts / parts.sum()
    assert told == [f"aligned axis {k + 1}, {shares[k]:.0f} % of the variance" for k in range(2)]
    assert figure.layout.xaxis.title.text == told[0]


def test_a_planes_axes_go_on_from_the_layer_before(shipped: dict[str, Any]) -> None:
    """Turned otherwise, points would flip as the slider moves."""
    points = np.array(shipped["planes"]["points"])
    for before, after in pairwise(points):
        for k in range(2):
            assert np.corrcoef(before[:, k], after[:, k])[0, 1] > 0


def test_hover_shows_prompts_as_text_and_cut(shipped: dict[str, Any]) -> None:
    flat = shipped["planes"]
    texts = ["<b>bold</b> <script>alert(1)</script>" + " and so on" * 100, *flat["texts"][1:]]
    figure = planes(flat | {"texts": texts}, opens=0)
    said = figure.data[0].text[0]
    assert said.startswith("&lt;b&gt;bold&lt;/b&gt; &lt;script&gt;")
    assert len(said) < 400


def test_what_is_drawn_around_is_listed_by_its_number(shipped: dict[str, Any]) -> None:
    figure = planes(shipped["planes"], opens=0)
    harmless = figure.data[1].customdata[4]
    assert not shipped["planes"]["positive"][harmless]
    assert figure.data[1].text[4].replace("<br>", " ") == escape(shipped["planes"]["texts"][harmless])
    picked = {"selection": {"points": [{"customdata": harmless}, {"customdata": [2]}, {"x": 0.0}]}}
    assert _numbers(picked) == [2, harmless]
    assert _numbers(None) == []


def test_measures_stand_beside_shuffled_labels(shipped: dict[str, Any]) -> None:
    figure, wide = measures(shipped["rows"]), wide_table(shipped["rows"])
    names = [trace.name for trace in figure.data if trace.name]
    assert any(name.startswith("shuffled labels (n=") for name in names)
    assert len(wide) == len(shipped["planes"]["layers"])
    assert all("|" in cell for cell in wide["silhouette"])
    assert not any("|" in cell for cell in wide["intrinsic dimension (TwoNN)"])  # it asks for no labels


def test_the_open_model_is_measured_by_a_job(opens: Opens) -> None:
    page = opens("geometry")
    page.number_input(key="geometry-n").set_value(8).run()
    job = worked(page, "geometry")
    json.dumps(job.result)  # plain values, no tensors
    assert job.result["n"] == [8, 8]
    assert len(page.get("plotly_chart")) == 2  # no direction was named
    assert any("8 harmful and 8 harmless" in caption.value for caption in page.caption)


def test_a_damaged_or_missing_result_is_a_sentence(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kind: str) -> dict[str, Any]:
        raise RunError("No result of geometry ships with this workbench; install it again.")

    monkeypatch.setattr("workbench.dashboard.views.geometry.shipped", missing)
    page = opens("geometry")
    assert not page.exception
    assert "install it again" in page.info[0].value


def test_only_built_in_prompts_ship(tmp_path: Any, shipped: dict[str, Any]) -> None:
    foreign = shipped | {"planes": shipped["planes"] | {"texts": ["Something of my own"]}}
    (tmp_path / "geometry.json").write_text(json.dumps(foreign))
    with pytest.raises(RunError, match="not built in"):
        distil(tmp_path)


def test_a_layer_that_the_next_model_does_not_have_is_let_go(opens: Opens) -> None:
    page = opens("geometry")
    page.select_slider(key="geometry-layer").set_value(9).run()
    page.number_input(key="geometry-n").set_value(8).run()
    worked(page, "geometry")
    assert page.select_slider(key="geometry-layer").value in (0, 1, 2)
