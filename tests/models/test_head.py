"""The end of a model as a sum: its logits are the model's, and those of parts add up."""

import pytest
import torch

from workbench.errors import ModelError
from workbench.models import Head, Site, Subject

ROW = [5, 6, 7, 8, 9]


def at_the_end(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    kept: list[torch.Tensor] = []
    site = Site(subject.n_layers - 1, "resid_post")
    with subject.hooked([(site, lambda acts, hook: kept.append(acts.clone()))]):
        logits = subject.logits(subject.batch([ROW]))
    return kept[0][0], logits[0]


def test_its_logits_are_the_models(tiny: Subject) -> None:
    stream, logits = at_the_end(tiny)
    head = Head.of(tiny)
    torch.testing.assert_close(head.logits(stream), logits, atol=1e-5, rtol=1e-4)
    some = torch.tensor([3, 50, 7])
    torch.testing.assert_close(head.logits(stream, some), logits[:, some], atol=1e-5, rtol=1e-4)


def test_parts_add_up_to_the_logits(tiny: Subject) -> None:
    stream, logits = at_the_end(tiny)
    head, some = Head.of(tiny), torch.tensor([3, 50, 7])
    one = torch.randn(stream.shape, generator=torch.Generator().manual_seed(0))
    parts = [head.direct(part) @ head.rows(some).float().T for part in (one, stream - one)]
    total = torch.stack(parts).sum(dim=0) / head.scale(stream) + head.constant(some)
    torch.testing.assert_close(total, logits[:, some], atol=1e-4, rtol=1e-4)


def test_rows_read_the_stream_as_the_direct_path_does(tiny: Subject) -> None:
    stream, _ = at_the_end(tiny)
    head = Head.of(tiny)
    rows = head.rows(torch.tensor([3, 50])).float()
    torch.testing.assert_close(stream @ head.direct_rows(rows).T, head.direct(stream) @ rows.T, atol=1e-4, rtol=1e-4)


def test_bent_logits_are_refused(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.bridge.original_model.config, "final_logit_softcapping", 30.0, raising=False)
    with pytest.raises(ModelError, match="bends its logits"):
        Head.of(llama)
