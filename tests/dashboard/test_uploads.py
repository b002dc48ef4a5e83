"""What is uploaded is told by its content, and nothing of it is run."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import random_direction
from workbench.dashboard.parts.uploads import LARGEST_MB, MOST_PROMPTS, direction_of, prompts_of, written_prompts
from workbench.errors import DirectionError, PromptError, UsageError
from workbench.models import Subject

TWO = ["One?", "Two, or three?"]


class Runs:
    """What a pickle of it would do to whoever reads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def archive(size: int) -> bytes:
    """A small archive of something large."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("prompts.txt", b"a" * size)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (json.dumps(TWO), "json"),
        (json.dumps([{"prompt": text} for text in TWO]), "json"),
        ("\n".join(json.dumps({"prompt": text}) for text in TWO), "jsonl"),
        ("\n".join(map(json.dumps, TWO)), "jsonl"),
        ('id,prompt\n1,One?\n2,"Two, or three?"', "csv"),
        ('"prompt"\n"One?"\n"Two, or three?"', "csv"),
        ("\n".join(TWO), "txt"),
        ("\r\n".join(TWO), "txt"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_form_is_known_by_its_content(content: str, form: str, mark: str) -> None:
    found = prompts_of((mark + content).encode(), "upload")
    assert [prompt.text for prompt in found] == TWO
    assert found.name == f"upload.{form}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps(Runs(mark), protocol)
    for read in (lambda: prompts_of(content, "upload"), lambda: direction_of(content)):
        with pytest.raises(UsageError, match="is a pickle"):
            read()
    assert not mark.exists()


BAD = [
    (b"", "is empty"),
    (b"a" * (2 << 20), f"has 2.0 MB, and at most {LARGEST_MB} MB"),
    (archive(50 << 20), "is an archive"),
    (gzip.compress(b"a" * (8 << 20)), "is an archive"),
    (b"\x7fELF\0\0\0", "is binary"),
    ("caf\u00e9\n".encode("latin-1"), "not UTF-8"),
    ("One?\nTwo?".encode("utf-16"), "not UTF-8"),
    ("One?\nTwo?".encode("utf-16-le"), "is binary"),
    ("One?\nTwo?".encode("utf-32"), "not UTF-8"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"prompt": 7}', "row 1, field text"),
    (rb'{"prompt": "Hi", "history": [{"role": "user", "content": "\ud800"}]}', "not UTF-8"),
    (b'{"text": "One?"}', "no 'prompt' column"),
    (b"\n \n", "has no prompts"),
    (b"a\n" * (MOST_PROMPTS + 1), "at most 2,000 are taken"),
    (b"short\n" + b"a" * 30_000, "Prompt 2 of upload.txt is longer"),
]


@pytest.mark.parametrize(("content", "says"), BAD, ids=[says for _, says in BAD])
def test_whatever_else_comes_is_answered_with_a_sentence(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prompts_of(content, "upload")


def test_text_that_is_no_pickle_but_ends_like_one_is_text() -> None:
    assert [prompt.text for prompt in prompts_of(b"I am here.\nSo are you.", "upload")] == ["I am here.", "So are you."]


@pytest.mark.parametrize("content", [b"One?\rTwo?", b"One?\r\nTwo?", b"prompt\rOne?\rTwo?"])
def test_any_line_end_is_read(content: bytes) -> None:
    said = "".join(prompt.text for prompt in prompts_of(content, "upload"))
    assert ("One?" in said, "Two?" in said) == (True, True)


def test_written_prompts_are_one_a_line() -> None:
    assert [prompt.text for prompt in written_prompts("One?\n\n Two?\n", "written")] == ["One?", " Two?"]
    with pytest.raises(PromptError, match="has no prompts"):
        written_prompts(" ", "written")


def test_a_direction_comes_back_as_it_was_and_a_damaged_one_is_a_sentence(llama: Subject, tmp_path: Path) -> None:
    kept = random_direction(llama)
    content = kept.save(tmp_path / "kept.safetensors").read_bytes()
    assert direction_of(content).digest == kept.digest
    for damaged in (content[:-8], content[:40], b"\xff" * 64, b"prompt\nOne?"):
        with pytest.raises(DirectionError, match="The uploaded file is not a direction file") as caught:
            direction_of(damaged)
        assert "/" not in str(caught.value).replace("safetensors/", "")
