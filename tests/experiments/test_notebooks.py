"""Every notebook runs from a fresh kernel, top to bottom, and says what it promises."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
# What the printed text of each must hold, and how often at least.
SAYS = {
    "toggle_mid_reply": {"ablated from here on": 1, "were computed under": 2},
    "explain_a_refusal": {"logits a token": 6, " sorry": 1, " off: ": 1},
}


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in said if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in said)
    assert {each: text.count(each) >= n for each, n in SAYS[name].items()} == dict.fromkeys(SAYS[name], True)


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SAYS)
