"""Traits that the architectures of the laws have not: ALiBi, windows by other names, scaled logits, hybrid caches."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import random_direction
from tests.tiny import save_model
from workbench.errors import RecipeError
from workbench.generation import generate
from workbench.interventions import Ablate
from workbench.models import Subject, open_model
from workbench.models.head import Head
from workbench.models.writers import writers
from workbench.weights.applying import edited

Opens = Callable[[str], Subject]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    return lambda name: open_model(str(save_model(name, tmp_path / name)), dtype="float32")


@pytest.mark.parametrize("name", ["bloom", "mpt", "gpt_neo", "granite", "cohere", "lfm2"])
def test_the_last_logits_of_a_batch_are_those_of_each_row_alone(name: str, opens: Opens) -> None:
    subject = opens(name)
    shared = list(range(10, 18))
    rows = [[*shared, *range(40, 40 + more)] for more in (3, 9, 20)]
    together = torch.cat(subject.last_logits([subject.batch(rows)]))
    alone = torch.cat([subject.logits(subject.batch([row]), last=1)[:, -1] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_where_a_beginning_may_be_read_once(opens: Opens) -> None:
    assert [opens(name).may_share(28) for name in ("bloom", "granite")] == [True, True]
    assert [opens(name).may_share(28) for name in ("mpt", "gpt_neo", "lfm2")] == [False, False, False]


@pytest.mark.parametrize("name", ["granite", "cohere", "bloom"])
def test_the_heads_logits_are_the_models(name: str, opens: Opens) -> None:
    subject = opens(name)
    streams: list[torch.Tensor] = []
    from workbench.models import Site

    with subject.hooked([(Site(subject.n_layers - 1, "resid_post"), lambda acts, hook: streams.append(acts))]):
        logits = subject.logits(subject.batch([[5, 6, 7, 8]]))
    torch.testing.assert_close(Head.of(subject).logits(streams[0]), logits, atol=1e-4, rtol=1e-4)


def test_a_hybrid_model_talks_also_where_prompts_repeat_and_rows_end(opens: Opens) -> None:
    subject = opens("lfm2")
    said = generate(subject, ["Hi.", "Hi.", "Hello there."], max_new_tokens=4)
    alone = [generate(subject, text, max_new_tokens=4)[0].tokens for text in ("Hi.", "Hi.", "Hello there.")]
    assert [reply.tokens for reply in said] == alone


def test_a_norm_after_the_embedding_is_seen_and_the_edit_stays_a_hook(opens: Opens) -> None:
    subject = opens("bloom")
    assert [writer.component for writer in writers(subject) if writer.norm_follows] == ["embed"]
    with (
        pytest.raises(RecipeError, match="normalised before it reaches the stream"),
        edited(subject, Ablate(random_direction(subject)).at("all")),
    ):
        pass
