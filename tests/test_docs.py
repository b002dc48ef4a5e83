"""The pages that are made from the code hold what the code says, and a broken link is found."""

from pathlib import Path

import pytest

from docs.making import commands, files, links, methods, reference
from workbench.interventions.edit import edits

MENU = (Path(methods.ROOT) / "docs" / "zensical.toml").read_text(encoding="utf-8")


def test_a_method_is_shown_with_its_equation_its_paper_its_parameters_and_its_laws() -> None:
    page = methods._entry("ablate", edits["ablate"], {"no op changes no bit": 6})
    for part in ("h - strength (h . u) u", "Arditi et al. 2024", "| `strength` | `float` | `1.0` | 0 to 1 |"):
        assert part in page
    assert "| no op changes no bit | 6 |" in page
    assert "workbench/interventions/edits/ablate.py" in page


@pytest.mark.long
def test_what_is_registered_is_under_laws_as_the_tests_are_collected() -> None:
    laws = methods.collected()
    for name in edits:
        if not name.startswith("add-heads"):
            assert sum(laws["edits", name].values()) > 100, name


def test_every_page_that_is_made_is_in_the_menu() -> None:
    made = [path for path, _ in files.pages()]
    made += [f"methods/{name}.md" for name in methods.KINDS] + [f"reference/{room}.md" for room in reference.ROOMS]
    assert [path for path in made if f'"{path}"' not in MENU] == []


def test_every_command_is_on_its_page_with_its_options() -> None:
    page = commands.page()
    for part in ("## workbench find", "## workbench probe sweep", "## workbench experiment run", "`--harmful`"):
        assert part in page


def test_a_link_to_nothing_in_a_file_of_the_project_is_an_error() -> None:
    assert files.linked("[log](experiments/LOG.md#here)", "README.md") == "[log](log.md#here)"
    assert files.linked("[it](Makefile)", "README.md") == "it (`Makefile`)"
    assert files.linked("[out](https://example.com)", "README.md") == "[out](https://example.com)"
    guide = "docs/pages/guides/extending.md"
    assert files.linked("[all](../../../workbench/interventions/edits)", guide) == "[all](../methods/edits.md)"
    assert (
        files.linked("[it](../../../experiments/notebooks/add_a_method.py)", guide)
        == "[it](../notebooks/add_a_method.md)"
    )
    assert files.linked("[other](recipes.md)", guide) == "[other](recipes.md)"
    with pytest.raises(RuntimeError, match="links to nowhere"):
        files.linked("[gone](nowhere.md)", "README.md")


def test_a_broken_link_of_the_site_and_what_is_fetched_from_elsewhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="top">b</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#top">fine</a><a href="b.html#gone">1</a><a href="c.html">2</a><a href="https://example.com">out</a>'
        '<script src="https://example.com/x.js"></script><img src="x.png"><a href="#here">3</a><p id="there">'
    )
    assert list(links.faults(tmp_path)) == [
        "a.html fetches https://example.com/x.js.",
        "a.html links to b.html#gone, where there is no such place.",
        "a.html links to c.html, which is not there.",
        "a.html links to #here, where there is no such place.",
        "a.html links to x.png, which is not there.",
    ]
