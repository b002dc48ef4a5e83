"""Every notebook runs from a fresh kernel, top to bottom, and says what it promises."""

import os
import re
import time
from pathlib import Path

import jupytext
import pytest

from tests.hardware import needs_bfloat16

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
# What the printed text of each must hold, and how often at least.
SAYS = {
    "add_a_method": {"changes no bit: True": 1, "changes no bit: False": 1, "characters, n=6": 3},
    "choose_a_dose": {"harmful prompts complied with": 3},
    "edit_the_weights": {"put back bit for bit: True": 1, "Audit(": 1},
    "explain_a_refusal": {"logits a token": 6, " sorry": 1, " off: ": 1},
    "find_a_direction": {"Found(": 1, "refusal of harmful prompts changes by": 1, "no difference shown": 1},
    "read_a_model": {"ProbeSweep(": 1, "LensCurves(": 1, "left alone": 1},
    "toggle_mid_reply": {"ablated from here on": 1, "were computed under": 2},
}
EMBEDDED = ("choose_a_dose", "explain_a_refusal", "find_a_direction", "read_a_model", "toggle_mid_reply")
CASES = [pytest.param(name, marks=needs_bfloat16 if name in EMBEDDED else ()) for name in SAYS]
MINUTES = 5  # on two cores that do nothing else


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = jupytext.read(FOLDER / f"{name}.py")
    where = {"metadata": {"path": str(tmp_path)}}
    start = time.perf_counter()
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    if pictures := os.environ.get("WORKBENCH_PICTURES"):
        jupytext.write(notebook, Path(pictures) / f"{name}.ipynb")
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in said if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in said)
    assert {each: text.count(each) >= n for each, n in SAYS[name].items()} == dict.fromkeys(SAYS[name], True), text
    assert [output for output in said if "application/vnd.plotly.v1+json" in output.get("data", {})] or name in PLAIN
    assert time.perf_counter() - start < 60 * MINUTES * 3  # a shared machine may be three times as slow


PLAIN = {"add_a_method"}  # has no figure


def test_every_notebook_is_run_and_says_its_time() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SAYS)
    for name in SAYS:
        first = jupytext.read(FOLDER / f"{name}.py").cells[0].source
        assert re.search(r"Two cores and (a minute|some minutes|\w+ minutes) (is|are) enough", first.replace("\n", " "))
