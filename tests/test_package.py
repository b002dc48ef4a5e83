"""The package itself: cheap to import, complete in what it promises."""

import subprocess
import sys
import time

import pytest

import workbench


def _fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "torch transformers transformer_lens pandas scipy plotly streamlit pydantic"
    out = _fresh(f"import sys, workbench; print([m for m in {heavy.split()!r} if m in sys.modules])")
    assert out.strip() == "[]"


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = "torch transformers transformer_lens pandas scipy plotly streamlit pydantic"
    out = _fresh(f"import sys, workbench.cli.main; print([m for m in {heavy.split()!r} if m in sys.modules])")
    assert out.strip() == "[]"


HELP = "import sys; sys.argv[1:] = ['--help']; from workbench.cli.main import main; main()"


@pytest.mark.parametrize("code", ["import workbench", HELP])
def test_starting_takes_at_most_seven_tenths_of_a_second(code: str) -> None:
    seconds = []
    for _ in range(3):  # the quickest counts: the machine may be busy with other things
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) <= 0.7


def test_every_public_name_is_there() -> None:
    assert sorted(workbench._HOME_OF) == sorted(workbench.__all__)
    for name in workbench.__all__:
        assert getattr(workbench, name).__module__.startswith("workbench.")


def test_public_names_are_about_thirty() -> None:
    assert 25 <= len(workbench.__all__) <= 35


def test_a_tab_lists_the_public_names_and_nothing_else() -> None:
    assert dir(workbench) == sorted(workbench.__all__)
