"""Capture equals the slow way, is bounded, and goes on after a kill."""

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from workbench.activations import ActivationStore, capture, capture_moments, capturing
from workbench.errors import CaptureError, PromptError
from workbench.interventions import Add, steered
from workbench.models import STREAMS, Site, Subject, token_rows
from workbench.prompts import Prompts

TEXTS = ["Tell me a story.", "Why?", "Name the tallest mountain on the moon.", "Hm", "One, two, three and four."]
PROMPTS = Prompts.of(TEXTS, label="x")


def test_block_inputs_are_the_hidden_states_of_the_plain_model(tiny: Subject, tiny_folders: dict[str, Path]) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders[tiny.name], attn_implementation="eager").eval()
    found = capture(tiny, PROMPTS, positions=[-3, -1], batch_size=2)
    for example, row in enumerate(token_rows(tiny, PROMPTS)):
        with torch.inference_mode():
            states = plain(torch.tensor([row]), output_hidden_states=True).hidden_states
        for index in range(tiny.n_layers):
            torch.testing.assert_close(
                found.values[example, :, index], states[index][0, [-3, -1]], atol=1e-4, rtol=1e-4
            )


def test_the_streams_add_up(llama: Subject) -> None:
    streams = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    found = capture(llama, PROMPTS, sites=[Site(1, stream) for stream in streams], positions=[-1])
    before, attention, mlp, after = (found.at(site, -1) for site in found.sites)
    torch.testing.assert_close(before + attention + mlp, after, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_any_site_can_be_captured(tiny: Subject, stream: str) -> None:
    found = capture(tiny, PROMPTS, sites=[Site(0, stream)], positions=[-1])
    assert found.values.shape[:3] == (5, 1, 1)


def test_the_order_is_the_prompts_whatever_the_batches(llama: Subject) -> None:
    one, five = (capture(llama, PROMPTS, positions=[-2, -1], batch_size=size) for size in (1, 5))
    torch.testing.assert_close(one.values, five.values, atol=1e-4, rtol=1e-4)
    assert one.labels == ("x",) * 5


def test_the_average_leaves_out_the_first_token_and_the_padding(llama: Subject) -> None:
    site = Site(2, "resid_pre")
    found = capture(llama, PROMPTS, sites=[site], positions="mean", batch_size=5).at(site)
    for example, row in enumerate(token_rows(llama, PROMPTS)):
        alone = capture(llama, PROMPTS[example : example + 1], sites=[site], positions=range(1 - len(row), 0))
        torch.testing.assert_close(found[example], alone.values[0, :, 0].mean(dim=0), atol=1e-4, rtol=1e-4)


def test_post_instruction_positions_are_the_default(llama: Subject) -> None:
    assert capture(llama, PROMPTS).positions == (-3, -2, -1)


def test_streamed_moments_equal_those_of_everything_at_once(llama: Subject) -> None:
    site = Site(1, "resid_pre")
    moments = capture_moments(llama, PROMPTS, sites=[site], positions=[-2, -1], batch_size=2, with_second=True)
    values = capture(llama, PROMPTS, sites=[site], positions=[-2, -1], batch_size=2).values.double()
    torch.testing.assert_close(moments.mean, values.mean(dim=0))
    flat = values.reshape(-1, llama.d_model)
    torch.testing.assert_close(moments.second, flat.T @ flat / len(flat))
    assert moments.n == 5


def test_a_capture_that_was_killed_goes_on_and_gives_the_same_bits(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = capture(llama, PROMPTS, batch_size=2).values
    store, real, calls = ActivationStore(tmp_path / "store"), capturing._values, []

    def dying(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(capturing, "_values", dying)
    with pytest.raises(KeyboardInterrupt):
        capture(llama, PROMPTS, batch_size=2, store=store)
    resumed = capture(llama, PROMPTS, batch_size=2, store=store)
    assert len(calls) == 4  # two that were done, one that died, and that one again
    assert torch.equal(resumed.values, whole)
    assert torch.equal(resumed.at(Site(2, "resid_pre"), -1), whole[:, -1, 2])


def test_a_capture_under_an_edit_never_reaches_the_store(llama: Subject, tmp_path: Path) -> None:
    store = ActivationStore(tmp_path / "store")
    with steered(llama, Add(random_direction(llama)).at(0)):
        edited = capture(llama, PROMPTS, store=store).values
    plain = capture(llama, PROMPTS, store=store).values
    assert torch.equal(plain, capture(llama, PROMPTS).values)
    assert not torch.equal(plain, edited)


def test_a_damaged_chunk_is_captured_again(llama: Subject, tmp_path: Path) -> None:
    store = ActivationStore(tmp_path / "store")
    whole = capture(llama, PROMPTS, store=store).values
    for file in store.root.glob("*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(capture(llama, PROMPTS, store=store).values, whole)


def test_the_store_is_keyed_by_everything_that_matters(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    store = ActivationStore(tmp_path / "store")
    capture(tiny_subjects["llama"], PROMPTS, store=store)
    for subject, options in [
        (tiny_subjects["llama"], {"positions": [-1]}),
        (tiny_subjects["llama"], {"sites": [Site(0, "resid_pre")]}),
        (tiny_subjects["phi3"], {}),
    ]:
        before = len(list(store.root.glob("*/*")))
        capture(subject, PROMPTS, store=store, **options)
        assert len(list(store.root.glob("*/*"))) > before


def test_the_store_is_bounded_and_drops_the_oldest(tmp_path: Path) -> None:
    chunk = torch.zeros(1, 1, 1, 256)
    store = ActivationStore(tmp_path / "store", limit_bytes=4000)
    for age, key in enumerate(["aa", "bb", "cc"]):
        store.put(key * 8, chunk)
        os.utime(store.path(key * 8), (age, age))
    store.put("dd" * 8, chunk)
    assert [store.has(key * 8) for key in ("aa", "bb", "cc", "dd")] == [False, True, True, True]


def test_a_capture_that_the_store_can_never_hold_says_so_beforehand(llama: Subject, tmp_path: Path) -> None:
    needed = 4 * len(PROMPTS) * 3 * llama.n_layers * llama.d_model
    capture(llama, PROMPTS, store=ActivationStore(tmp_path / "room", limit_bytes=needed))
    store = ActivationStore(tmp_path / "store", limit_bytes=needed - 1)
    with pytest.raises(CaptureError, match=r"needs .* GB and the store .* ask for fewer"):
        capture(llama, PROMPTS, store=store)
    assert not store.root.exists()


def test_chunks_that_were_removed_meanwhile_are_one_sentence(llama: Subject, tmp_path: Path) -> None:
    found = capture(llama, PROMPTS, store=ActivationStore(tmp_path / "store"))
    for file in (tmp_path / "store").glob("*/*.safetensors"):
        file.unlink()
    with pytest.raises(CaptureError, match="removed from the store meanwhile; capture again"):
        _ = found.values


def test_memory_does_not_grow_with_the_prompts(llama: Subject, tmp_path: Path) -> None:
    many = Prompts.of([f"Prompt number {n}." for n in range(60)])
    found = capture(llama, many, batch_size=4, store=ActivationStore(tmp_path / "store"))
    assert all(chunk.held is None for chunk in found.chunks)


def test_capture_leaves_no_hook(llama: Subject) -> None:
    capture(llama, PROMPTS)
    with pytest.raises(CaptureError):
        capture(llama, PROMPTS, positions=[-200])
    assert llama.bridge.list_hooks() == {}


def test_bad_requests_are_one_sentence(llama: Subject) -> None:
    with pytest.raises(CaptureError, match=r"Position -200 .* shortest prompt has \d+ tokens"):
        capture(llama, PROMPTS, positions=[-200])
    with pytest.raises(CaptureError, match="count from the end"):
        capture(llama, PROMPTS, positions=[0])
    with pytest.raises(PromptError, match="at most 256"):
        capture(llama, Prompts.of(["x" * 300]))


def test_activations_that_are_not_finite_are_an_error(llama: Subject) -> None:
    point = Site(0, "resid_pre").hook_point(llama.bridge)
    handle = point.add_hook(lambda acts, hook: acts * float("inf"))
    try:
        with pytest.raises(CaptureError, match="not finite"):
            capture(llama, PROMPTS)
    finally:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)
