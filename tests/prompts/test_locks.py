"""Test parts are locked: nothing is chosen on them."""

import json
from pathlib import Path

import pytest

from workbench.errors import PromptError
from workbench.prompts import Prompts, builtin_pairs, builtin_prompts, for_tuning, load_prompts, split
from workbench.search import SearchSettings
from workbench.search.finding import draw


@pytest.mark.parametrize("name", ["harmful", "harmless", "looks-harmful"])
def test_a_built_in_test_part_is_locked_however_it_is_cut(name: str) -> None:
    test = builtin_prompts(name, "test")
    for part in (test, test.sample(3), test[:2], test.pick([1, 0]), test.without(set()), test.changed(label="x")):
        with pytest.raises(PromptError, match="is a test part, which is locked: a search would tune"):
            for_tuning(part, "a search")
    for part_name in ("train", "val"):
        part = builtin_prompts(name, part_name)
        assert for_tuning(part, "a search") is part


def test_a_copy_of_a_test_part_is_locked_too() -> None:
    odd = builtin_prompts("harmful", "test")[0].text
    for text in (odd.upper(), f"  {odd}!", odd.replace(" ", "\n")):
        with pytest.raises(PromptError, match="holds 1 prompts"):
            for_tuning(Prompts.of([text, "Something else?"]).changed(system="Be brief."), "a dose")
    copied = Prompts.of([*(prompt.text for prompt in builtin_prompts("harmful", "test")[:4]), "Something else?"])
    with pytest.raises(PromptError, match="holds 4 prompts of a built-in test part"):
        for_tuning(copied, "a dose")
    with pytest.raises(PromptError, match="locked"):
        for_tuning(builtin_prompts("harmful"), "a dose")


def test_the_search_cannot_read_a_test_part() -> None:
    train, test = builtin_pairs("train"), builtin_pairs("test")
    settings = SearchSettings()
    for pairs, held in ((test, None), (train, test)):
        with pytest.raises(PromptError, match="locked"):
            draw(pairs, held, settings)
    assert draw(train, builtin_pairs("val"), settings)


def test_a_file_has_parts_and_its_test_part_is_locked(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    subjects = ("river", "engine", "garden", "violin", "glacier", "harbour", "kitchen", "planet", "bridge", "lantern")
    rows = [
        {"prompt": f"{v} the {s}"} for s in subjects for v in ("describe in detail", "draw me", "who invented", "sell")
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {part: load_prompts(f"{file}:{part}") for part in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(rows)
    assert not {p.text for p in parts["train"]} & {p.text for p in parts["test"]}
    assert [part.locked for part in parts.values()] == [False, False, True]
    assert parts["test"].name == "set.jsonl:test"
    assert split(load_prompts(str(file)))["test"].digest == parts["test"].digest
    with pytest.raises(PromptError, match=r"set.jsonl:val"):
        for_tuning(parts["test"], "a dose")
