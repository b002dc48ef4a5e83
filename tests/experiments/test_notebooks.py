"""Every notebook runs from a fresh kernel, top to bottom."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "experiments" / "notebooks").glob("*.ipynb"))


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs(path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in said if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in said)
    assert "ablated from here on" in text
    assert text.count("were computed under") == 2


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
