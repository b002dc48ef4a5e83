"""Splits do not leak."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.prompts import Prompt, Prompts, split
from workbench.prompts.splits import FRACTIONS, SIMILAR, near_duplicate_groups

vocabulary = ["red", "green", "blue", "cat", "dog", "bird", "sings", "runs", "sleeps"]
words = st.lists(st.sampled_from(vocabulary), min_size=1, max_size=6)
sets = st.lists(words.map(" ".join), min_size=6, max_size=40)


def jaccard(one: str, other: str) -> float:
    ours, theirs = set(one.split()), set(other.split())
    return len(ours & theirs) / len(ours | theirs)


@given(sets, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_near_duplicate_is_in_two_parts(texts: list[str], seed: int) -> None:
    parts = split(Prompts.of(texts), seed=seed)
    assert sorted(p.text for part in parts.values() for p in part) == sorted(texts)
    for name, part in parts.items():
        for other, theirs in parts.items():
            if name != other:
                assert all(jaccard(a.text, b.text) < SIMILAR for a in part for b in theirs)


def test_planted_near_duplicates_share_a_group() -> None:
    rows = [["Tell me how to bake a loaf of rye bread"], ["something else"], ["Tell me how to bake a loaf of bread"]]
    groups = near_duplicate_groups(rows)
    assert groups[0] == groups[2] != groups[1]


def test_parts_have_their_share_of_every_category() -> None:
    unlike = [f"w{n}a w{n}b w{n}c" for n in range(80)]
    prompts = Prompts(tuple(Prompt(text=text, category="ab"[n % 2]) for n, text in enumerate(unlike)))
    parts = split(prompts)
    for name, part in parts.items():
        for category in "ab":
            assert abs(Counter(p.category for p in part)[category] - 40 * FRACTIONS[name]) <= 1
    assert {n: p.digest for n, p in parts.items()} == {n: p.digest for n, p in split(prompts).items()}
    assert parts["test"].digest != split(prompts, seed=1)["test"].digest
