"""The built-in sets keep what they promise."""

import json
from collections import Counter
from importlib.resources import files

import pytest

from workbench.errors import PromptError
from workbench.prompts import builtin_pairs, builtin_prompts
from workbench.prompts.builtin import PARTS
from workbench.prompts.splits import SIMILAR, near_duplicate_groups


def _words(text: str) -> set[str]:
    return set(text.lower().split())


def test_there_are_enough_in_ten_categories() -> None:
    pairs = builtin_pairs()
    assert len(pairs.positive) == len(pairs.negative) >= 160
    assert len(Counter(p.category for p in pairs.positive)) == 10
    assert len(builtin_prompts("looks-harmful")) >= 60


def test_twins_stay_together_in_every_part() -> None:
    text = files("workbench.prompts").joinpath("data", "refusal_pairs.jsonl").read_text(encoding="utf-8")
    twin = {row["harmful"]: row["harmless"] for row in map(json.loads, text.splitlines())}
    for part in PARTS:
        pairs = builtin_pairs(part)
        assert [twin[p.text] for p in pairs.positive] == [p.text for p in pairs.negative]


def test_parts_are_apart_and_make_up_the_whole() -> None:
    for name in ("harmful", "harmless", "looks-harmful"):
        parts = [{p.text for p in builtin_prompts(name, part)} for part in PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(builtin_prompts(name))


def test_nothing_is_nearly_the_same_as_anything_else() -> None:
    everything = [p.text for name in ("harmful", "harmless", "looks-harmful") for p in builtin_prompts(name)]
    assert len(set(near_duplicate_groups([[text] for text in everything]).tolist())) == len(everything)
    assert SIMILAR <= 0.6


def test_every_category_is_in_every_part() -> None:
    for part in PARTS:
        counts = Counter(p.category for p in builtin_prompts("harmful", part))
        assert len(counts) == 10
        assert max(counts.values()) - min(counts.values()) <= 1


def test_there_is_no_template() -> None:
    openings = Counter(" ".join(p.text.lower().split()[:3]) for p in builtin_prompts("harmful"))
    assert max(openings.values()) <= 4


def test_twins_match_in_length() -> None:
    pairs = builtin_pairs()
    gaps = [len(a.text.split()) - len(b.text.split()) for a, b in zip(pairs.positive, pairs.negative, strict=True)]
    assert max(map(abs, gaps)) <= 5
    assert abs(sum(gaps) / len(gaps)) < 0.5


def test_requests_are_one_line_and_hold_nothing_operational() -> None:
    for prompt in builtin_prompts("harmful"):
        assert "\n" not in prompt.text
        assert len(prompt.text.split()) <= 30
        assert not any(sign in prompt.text for sign in ("http", "```", "{", "$(", " grams", " mg"))


def test_a_name_or_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PromptError, match="no built-in set 'evil'; there are: harmful"):
        builtin_prompts("evil")
    with pytest.raises(PromptError, match="no part 'dev'"):
        builtin_prompts("harmful", "dev")
