"""Prompt sets from files and by name; each bad file is one sentence that names it."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from workbench.errors import PromptError
from workbench.prompts import Prompt, Prompts, builtin_pairs, load_prompts
from workbench.prompts.public import PUBLIC


def _write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"prompt": "One?"}\n\n{"prompt": "Two\\u2028?"}\n'),
        ("a.json", '["One?", {"prompt": "Two\\u2028?"}]'),
        ("a.csv", 'id,prompt\n1,One?\n2,"Two\u2028?"\n'),
        ("a.jsonl", '\ufeff{"prompt": "One?"}\n{"prompt": "Two\u2028?"}'),
    ],
)
def test_the_same_prompts_from_every_format(tmp_path: Path, name: str, content: str) -> None:
    assert [p.text for p in load_prompts(_write(tmp_path / name, content))] == ["One?", "Two\u2028?"]


def test_text_is_one_prompt_a_line(tmp_path: Path) -> None:
    assert [p.text for p in load_prompts(_write(tmp_path / "a.txt", "One?\n\n  \nTwo?\n"), "x")] == ["One?", "Two?"]


def test_conversations_and_labels_are_read(tmp_path: Path) -> None:
    row = {
        "prompt": "And?", "label": "harmful", "category": "c", "system": "Be brief.", "prefill": "Sure",
        "history": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    }  # fmt: skip
    prompt = load_prompts(_write(tmp_path / "a.jsonl", json.dumps(row)), "harmless")[0]
    assert [m["role"] for m in prompt.messages] == ["system", "user", "assistant", "user"]
    assert (prompt.label, prompt.category, prompt.prefill) == ("harmful", "c", "Sure")
    assert prompt.digest != Prompt(text="And?").digest


BAD = [
    ("a.jsonl", '{"prompt": "One?"}\n{"prompt": ', "line 2"),
    ("a.jsonl", '{"text": "One?"}', r"row 1, has no 'prompt' column \(it has: text\)"),
    ("a.jsonl", '{"prompt": "One?"}\n{"prompt": 7}', "row 2, field text"),
    ("a.jsonl", '{"prompt": "  "}', "a prompt is empty"),
    ("a.jsonl", '{"prompt": "x", "history": [{"role": "god", "content": "y"}]}', "row 1, field history"),
    ("a.jsonl", "7", "row 1, has no 'prompt' column"),
    ("a.json", '{"prompt": "One?"}', "must hold a JSON list"),
    ("a.json", "[", "not valid JSON"),
    ("a.csv", "text\nOne?\n", "no 'prompt' column"),
    ("a.csv", "", "has no prompts"),
    ("a.txt", b"caf\xe9", r"not UTF-8 \(byte 3\); save it as UTF-8"),
    ("a.xml", "<x/>", "is not a prompt set"),
    ("a.csv", "prompt\n" + "x" * 200_000, "not valid CSV"),
    ("a.json", "[" * 100_000, "not valid JSON"),
    ("a.jsonl", '{"prompt": "One?"}\n{"prompt": ' + "9" * 5000 + "}", "not valid JSON: line 2"),
    ("a.jsonl", '{"prompt": "\\ud800"}', "row 1, field text: .*not UTF-8"),
]


@pytest.mark.parametrize(("name", "content", "says"), BAD)
def test_a_bad_file_is_one_sentence(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        load_prompts(_write(tmp_path / name, content))
    assert "a." in str(caught.value)


def test_a_missing_file_or_an_unknown_name_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="There is no file"):
        load_prompts(str(tmp_path / "none.jsonl"))
    with pytest.raises(PromptError, match=r"'advbanch' is not a prompt set: .*advbench"):
        load_prompts("advbanch")
    assert load_prompts("harmless:test").name == "harmless:test"


def test_public_sets_are_mapped_and_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = [
        {"prompt": "P", "Goal": "P", "instruction": "P", "input": "", "category": "c", "Category": "c", "type": "t",
         "label": "safe"},
        {"prompt": "Q", "Goal": "Q", "instruction": "Q", "input": "text", "category": "c", "Category": "c",
         "type": "t", "label": "unsafe"},
    ]  # fmt: skip

    def load(repository: str, config: str | None, split: str) -> datasets.Dataset:
        asked.append((repository, config, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name, wanted in PUBLIC.items():
        found = load_prompts(name)
        assert len(found) == (1 if wanted.keep else 2)
        assert found[0].text == "P"
        assert found[0].label == wanted.label
        assert asked[-1] == (wanted.repository, wanted.config, wanted.split)


def test_a_public_set_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(PromptError, match=r"advbench .* needs the network once.* Or give a file"):
        load_prompts("advbench")
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **o: datasets.Dataset.from_list([{"x": 1}]))
    with pytest.raises(PromptError, match="no longer has the columns"):
        load_prompts("harmbench")


def test_a_prompt_that_is_no_text_is_one_sentence() -> None:
    for text in ("", " \n", "bad\udce9byte"):
        with pytest.raises(PromptError, match="A prompt of mine cannot be used"):
            Prompts.of([text], name="mine")
    with pytest.raises(PromptError, match="prefill"):
        Prompts.of(["Hi"]).changed(prefill="\udce9")
    assert Prompts.of(["Hi"]).changed(system="Be brief.")[0].messages[0]["content"] == "Be brief."


def test_a_sample_is_even_over_categories_and_keeps_the_order() -> None:
    prompts = Prompts(tuple(Prompt(text=f"{c} {n}", category=c) for c in "abc" for n in range(10)))
    drawn = prompts.sample(9, seed=1)
    assert Counter(p.category for p in drawn) == {"a": 3, "b": 3, "c": 3}
    places = [prompts.items.index(p) for p in drawn]
    assert places == sorted(places)
    assert drawn.digest == prompts.sample(9, seed=1).digest != prompts.sample(9, seed=2).digest
    assert prompts.sample(99) is prompts


def test_a_sample_of_pairs_is_one_of_each_side() -> None:
    pairs = builtin_pairs("train")
    drawn = pairs.sample(9, seed=1)
    assert drawn.positive.digest == pairs.positive.sample(9, seed=1).digest
    assert drawn.negative.digest == pairs.negative.sample(9, seed=1).digest
    assert drawn.digest != pairs.sample(9, seed=2).digest
