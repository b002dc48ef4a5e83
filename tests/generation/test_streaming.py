"""Streaming: what each token says is what the model's own logits say; recipes change between two tokens."""

import threading
from dataclasses import replace
from math import isnan

import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, same_bits, when
from workbench.errors import DirectionError, RecipeError, UsageError
from workbench.generation import counterfactual, generate, side_by_side, stream
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Batch, Site, Subject, token_rows


def _teacher_forced(subject: Subject, reply, recipe: Recipe) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Log-probabilities [token vocab] along a reply, from one pass over the whole text: the slow reference."""
    prompt = token_rows(subject, [reply.prompt])[0]
    whole = subject.batch([[*prompt, *reply.tokens]])
    batch = Batch(whole.ids, whole.attention, whole.prompt_lengths - len(reply.tokens))
    with steered(subject, recipe):
        return subject.logits(batch)[0, len(prompt) - 1 : -1].double().log_softmax(dim=-1)


@pytest.mark.parametrize("scope", ["all", "generated"])
def test_a_token_carries_what_the_logits_say(tiny: Subject, scope: str) -> None:
    direction = random_direction(tiny)
    recipe = Add(direction, 0.5).at("all", scope)
    with stream(tiny, PROMPTS, recipe, max_new_tokens=7, watch={"it": direction}, divergence=True) as said:
        tokens = list(said)
    replies = said.replies()
    assert [reply.tokens for reply in replies] == [r.tokens for r in generate(tiny, PROMPTS, recipe, max_new_tokens=7)]
    for row, reply in enumerate(replies):
        edited, plain = (_teacher_forced(tiny, reply, r) for r in (recipe, Recipe()))
        mine = [token for token in tokens if token.row == row and not token.ends]
        assert [token.id for token in mine] == list(reply.tokens)
        for place, token in enumerate(mine):
            entropy = -(edited[place].exp() * edited[place]).sum()
            divergence = torch.nn.functional.kl_div(edited[place], plain[place], reduction="sum", log_target=True)
            assert token.index == place
            assert token.logprob == pytest.approx(float(edited[place, token.id]), abs=1e-3)
            assert token.entropy == pytest.approx(float(entropy), abs=1e-3)
            assert token.kl == pytest.approx(float(divergence), abs=1e-3)


def test_an_unedited_stream_diverges_by_nothing(llama: Subject) -> None:
    with stream(llama, PROMPTS, max_new_tokens=5, divergence=True) as said:
        assert max(token.kl or 0.0 for token in said) < 1e-6


def test_what_is_watched_is_read_after_the_edit(llama: Subject) -> None:
    direction = random_direction(llama)
    with stream(llama, "Hello", Ablate(direction).at("all"), max_new_tokens=4, watch={"it": direction}) as said:
        assert all(token.watched["it"] == pytest.approx(0.0, abs=1e-5) for token in said)  # its origin is 0
    with stream(llama, "Hello", max_new_tokens=4, watch={"it": direction}) as said:
        assert any(abs(token.watched["it"]) > 1e-3 for token in said)


def test_a_recipe_changes_between_two_tokens_and_what_was_said_stays(tiny: Subject) -> None:
    recipe = Add(random_direction(tiny), 2.0).at("all")
    plain = generate(tiny, "Tell me", max_new_tokens=10)[0].tokens
    with stream(tiny, "Tell me", max_new_tokens=10) as said:
        for _ in range(4):
            next(said)
        said.change(recipe)
        list(said)
    tokens = said.replies()[0].tokens
    assert tokens[:4] == plain[:4]
    # The slow reference: one pass a token over the whole text, the recipe on from the fifth pass's position.
    prompt = token_rows(tiny, PROMPTS[:1].changed(text="Tell me"))[0]
    for count in range(4, len(tokens)):
        ids = [*prompt, *tokens[:count]]
        window = recipe.placements[0].edit.at("all", f"{len(prompt) + 3}:9999")
        with steered(tiny, window):
            logits = tiny.logits(tiny.batch([ids]), last=1)[0, -1]
        assert int(logits.argmax()) == tokens[count]
    first, second = said.spans()
    assert (first.start, first.stop, first.recipe) == (0, len(prompt) + 3, Recipe())
    assert (second.start, second.recipe) == (len(prompt) + 3, recipe)


def test_one_row_changes_and_the_others_do_not(llama: Subject) -> None:
    recipe = Add(random_direction(llama), 3.0).at("all")
    plain = [reply.tokens for reply in generate(llama, PROMPTS, max_new_tokens=8)]
    with stream(llama, PROMPTS, max_new_tokens=8) as said:
        next(said)
        said.change(recipe, row=1)
        list(said)
    changed = [reply.tokens for reply in said.replies()]
    assert (changed[0], changed[2]) == (plain[0], plain[2])
    assert changed[1] != plain[1]
    assert [len(said.spans(row)) for row in range(3)] == [1, 2, 1]
    with pytest.raises(UsageError, match="no row 3"):
        said.change(recipe, row=3)


def test_a_recipe_that_does_not_fit_is_refused_and_the_old_one_goes_on(llama: Subject) -> None:
    plain = generate(llama, "Hello", max_new_tokens=6)[0].tokens
    with stream(llama, "Hello", max_new_tokens=6) as said:
        next(said)
        with pytest.raises(RecipeError, match="no layer 9"):
            said.change(Add(random_direction(llama)).at(9))
        with steered(llama, Recipe()) as steering, pytest.raises(RecipeError, match="while its hooks are on"):
            steering.change(Recipe())
        list(said)
    assert said.replies()[0].tokens == plain


def test_a_gate_that_is_decided_on_the_prompt_cannot_join_later(llama: Subject) -> None:
    plain = generate(llama, "Hello", max_new_tokens=6)[0].tokens
    with stream(llama, "Hello", max_new_tokens=6) as said:
        next(said)
        said.change(Add(random_direction(llama)).at("all", **when("prompt gate", llama)))
        with pytest.raises(RecipeError, match="was read before the recipe was there"):
            next(said)
        list(said)  # the old recipe goes on, and the cache is whole
    assert said.replies()[0].tokens == plain
    assert llama.bridge.list_hooks() == {}


@pytest.mark.parametrize("name", ["prompt gate", "last gate"])
def test_what_was_decided_on_the_prompt_holds_for_other_strengths_and_after_a_pause(llama: Subject, name: str) -> None:
    add, gate = Add(random_direction(llama), 3.0), when(name, llama)
    changes = [Recipe(), add.at("all", **gate), replace(add, strength=0.0).at("all", **gate),
               replace(add, strength=1.5).at("all", **gate)]  # fmt: skip
    with stream(llama, "Hello", add.at("all", **gate), max_new_tokens=8) as said:
        next(said)
        for recipe in changes:
            said.change(recipe)
            next(said)
        said.change(Recipe())
        said.change(add.at("all", **gate))  # between the same two tokens
        list(said)
    opened = generate(llama, "Hello", add.at("all", **gate), max_new_tokens=1)[0].tokens[0]
    assert said.replies()[0].tokens[0] == opened
    assert len(said.replies()[0].tokens) == 8


def test_a_refused_change_costs_no_other_its_turn(llama: Subject) -> None:
    plain = Add(random_direction(llama), 2.0).at(1)
    with stream(llama, "Hello", max_new_tokens=6) as said:
        next(said)
        said.change(Add(random_direction(llama)).at("all", **when("prompt gate", llama)))
        said.change(plain)
        with pytest.raises(RecipeError, match="was read before the recipe was there"):
            next(said)
        list(said)
        assert said.session.steering.recipe_of(0).digest == plain.digest


@pytest.mark.parametrize("name", ["prompt gate", "last gate"])
def test_what_a_gate_decided_on_the_prompt_stays_decided_when_another_row_changes(llama: Subject, name: str) -> None:
    gated = Add(random_direction(llama), 3.0).at("all", **when(name, llama))
    alone = [generate(llama, text, gated, max_new_tokens=8)[0].tokens for text in ("Why?", "Tell me")]
    with stream(llama, ["Why?", "Tell me", "Hello"], [gated, gated, Recipe()], max_new_tokens=8) as said:
        next(said)
        said.change(Add(random_direction(llama)).at(1), row=2)
        said.change(gated, row=0)
        list(said)
    assert [reply.tokens for reply in said.replies()][:2] == alone


def test_an_interrupted_pass_ends_the_reply_and_does_not_falsify_it(llama: Subject) -> None:
    with stream(llama, "Hello", max_new_tokens=8) as said:
        next(said)

        def stop(acts: torch.Tensor, hook: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), llama.hooked([(Site(2, "resid_pre"), stop)]):
            next(said)
        with pytest.raises(UsageError, match="was interrupted"):
            next(said)


def test_leaving_early_unsays_what_was_not_read(llama: Subject) -> None:
    with stream(llama, PROMPTS, max_new_tokens=8) as said:
        next(said)
    assert [len(reply.tokens) for reply in said.replies()] == [1, 0, 0]
    with stream(llama, PROMPTS, max_new_tokens=8) as said:
        next(said)
        with llama.hooked([(Site(1, "resid_pre"), lambda acts, hook: said.cancel())]):
            assert len(list(said)) == 2  # what the first pass had computed was asked for before the cancel
    assert [len(reply.tokens) for reply in said.replies()] == [1, 1, 1]


def test_a_change_does_not_wait_for_whoever_holds_the_model(llama: Subject) -> None:
    said = stream(llama, "Hello", max_new_tokens=30)
    next(said)
    with llama.lock:
        reader = threading.Thread(target=lambda: list(said))
        reader.start()
        changer = threading.Thread(target=said.change, args=(Recipe(),))
        changer.start()
        changer.join(timeout=20)
        assert not changer.is_alive()
    reader.join(timeout=60)
    assert not reader.is_alive()


def test_rows_that_have_ended_leave_with_those_that_follow_them(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = generate(tiny, PROMPTS, max_new_tokens=12)
    ends = frozenset({plain[0].tokens[2]})  # the first reply then ends at its third token, if not before
    monkeypatch.setattr(Subject, "end_tokens", ends)
    widths: list[int] = []
    step = Subject.step

    def counting(self, ids, *rest):  # type: ignore[no-untyped-def]
        widths.append(len(ids))
        return step(self, ids, *rest)

    monkeypatch.setattr(Subject, "step", counting)
    with stream(tiny, PROMPTS, max_new_tokens=12, divergence=True) as said:
        tokens = list(said)
    monkeypatch.setattr(Subject, "step", step)
    assert [reply.tokens for reply in said.replies()] == [r.tokens for r in generate(tiny, PROMPTS, max_new_tokens=12)]
    assert widths[0] == 3  # the unedited model and its unedited twin read a prompt once
    assert all(width % 2 == 0 for width in widths[1:])
    assert min(widths[1:]) < 6
    assert all(token.kl < 1e-6 for token in tokens if token.kl is not None)


def test_an_edit_of_heads_can_be_watched(tiny: Subject) -> None:
    from tests.laws.cases import head_direction

    direction = head_direction(tiny)
    with stream(tiny, "Hi", max_new_tokens=3, watch={"heads": direction}) as said:
        assert all(abs(token.watched["heads"]) < 100 for token in said)


def test_rows_are_not_left_to_a_recipe_that_is_put_around(llama: Subject) -> None:
    gated = Add(random_direction(llama)).at("all", **when("prompt gate", llama))
    for recipe in ([gated, gated], gated, Add(random_direction(llama)).at("all", "-3:2")):
        with pytest.raises(RecipeError, match="hand it to the function that generates"), steered(llama, recipe):
            generate(llama, PROMPTS[:2], max_new_tokens=2)
    plain = Add(random_direction(llama)).at("all")
    with steered(llama, plain):
        said = generate(llama, PROMPTS, max_new_tokens=4)
    assert [r.tokens for r in said] == [r.tokens for r in generate(llama, PROMPTS, plain, max_new_tokens=4)]


def test_cancelling_from_another_thread_ends_it_within_one_token(llama: Subject) -> None:
    with stream(llama, PROMPTS, max_new_tokens=100) as said:
        count = 0
        for count, _ in enumerate(said):
            if count == 3:
                thread = threading.Thread(target=said.cancel)
                thread.start()
                thread.join()
    assert count <= 3
    assert sum(len(reply.tokens) for reply in said.replies()) <= 4
    with pytest.raises(UsageError, match="at least 1"):
        stream(llama, "Hello", max_new_tokens=0)
    with pytest.raises(DirectionError, match="is 8 wide"):
        stream(llama, "Hello", watch={"x": _narrow(llama)})
    with pytest.raises(UsageError, match="No site 9"):
        stream(llama, "Hello", watch={"x": random_direction(llama, layer=9)})
    with pytest.raises(UsageError, match="no row 5"):
        said.spans(5)


def _narrow(subject: Subject):  # type: ignore[no-untyped-def]
    from workbench.directions import Direction

    site = random_direction(subject).site
    return Direction.from_raw(
        torch.ones(8), torch.zeros(8), site=site, position=-1, method="m", model_name=subject.name,
        model_digest=subject.digest,
    )  # fmt: skip


def test_side_by_side_reads_a_shared_prompt_once(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    direction = random_direction(tiny)
    recipes = [Recipe(), Add(direction, 2.0).at("all", "generated"), Add(direction, -2.0).at(1, "first 3")]
    everywhere = Ablate(direction).at("all")
    alone = [generate(tiny, "Tell me", recipe, max_new_tokens=6)[0].tokens for recipe in [*recipes, everywhere]]
    read: list[int] = []
    step = Subject.step

    def counting(self, ids, *rest):  # type: ignore[no-untyped-def]
        read.append(len(ids))
        return step(self, ids, *rest)

    monkeypatch.setattr(Subject, "step", counting)
    said = side_by_side(tiny, "Tell me", [*recipes, everywhere], max_new_tokens=6)
    assert [reply.tokens for reply in said] == alone
    assert read[0] == 2  # one for the three that leave the prompt alone, one for the ablation
    with pytest.raises(UsageError, match="2 prompts were given"):
        side_by_side(tiny, PROMPTS[:2], recipes)


def test_a_twin_says_what_the_other_would_have_said(tiny: Subject) -> None:
    recipe, other = Add(random_direction(tiny), 1.0).at("all"), Ablate(random_direction(tiny, 3)).at("all")
    reply = generate(tiny, "Tell me", recipe, max_new_tokens=6)[0]
    twin = counterfactual(tiny, reply, recipe, other, top=3)
    edited, instead = (_teacher_forced(tiny, reply, r) for r in (recipe, other))
    assert len(twin.tokens) == len(reply.tokens)
    for place, token in enumerate(twin.tokens):
        divergence = torch.nn.functional.kl_div(edited[place], instead[place], reduction="sum", log_target=True)
        best = instead[place].topk(3)
        assert token.kl == pytest.approx(float(divergence), abs=1e-4)
        assert token.other_logprob == pytest.approx(float(instead[place, reply.tokens[place]]), abs=1e-4)
        assert [a.probability for a in token.alternatives] == pytest.approx(best.values.exp().tolist(), abs=1e-4)
        assert token.alternatives[0].text == tiny.tokenizer.decode([int(best.indices[0])])
    assert list(twin.to_pandas()["token"]) == [token.text for token in twin.tokens]
    assert len(twin.plot().data) == 2
    with pytest.raises(UsageError, match="1 to 100"):
        counterfactual(tiny, reply, recipe, top=101)
    same = counterfactual(tiny, reply, recipe, recipe)
    assert max(token.kl for token in same.tokens) == 0.0


def test_steering_rows_of_a_batch_out_of_order_is_the_same_to_the_bit(llama: Subject) -> None:
    recipes = [Add(random_direction(llama, seed)).at("all") for seed in (1, 2)]
    rows = token_rows(llama, PROMPTS)[:2]
    with steered(llama, recipes):
        forward = llama.logits(llama.batch(rows))
    with steered(llama, recipes[::-1]):
        backward = llama.logits(llama.batch(rows[::-1]))
    assert same_bits(forward[0], backward[1])
    assert same_bits(forward[1], backward[0])


def test_one_reply_is_stopped_and_the_others_say_what_they_would_have_said(tiny: Subject) -> None:
    whole = [reply.tokens for reply in generate(tiny, PROMPTS, max_new_tokens=8)]
    with stream(tiny, PROMPTS, max_new_tokens=8) as said:
        for token in said:
            assert token.row != 1 or token.index <= 2
            if (token.row, token.index) == (1, 2):
                said.stop(1)
                said.stop(1)
    replies = said.replies()
    assert [reply.tokens for reply in replies] == [whole[0], whole[1][:2], whole[2]]
    assert not replies[1].finished


def test_a_stream_whose_replies_are_all_stopped_is_over(llama: Subject) -> None:
    with stream(llama, PROMPTS, max_new_tokens=8) as said:
        for token in said:
            said.stop(token.row)
    assert [reply.tokens for reply in said.replies()] == [(), (), ()]
    with pytest.raises(UsageError, match="There is no row 3"):
        said.stop(3)


def test_without_sureness_the_same_is_said(llama: Subject) -> None:
    told, untold = (list(stream(llama, PROMPTS, max_new_tokens=4, sureness=sureness)) for sureness in (True, False))
    assert [replace(token, logprob=0.0, entropy=0.0) for token in told] == [
        replace(token, logprob=0.0, entropy=0.0) for token in untold
    ]
    assert all(isnan(token.logprob) and isnan(token.entropy) for token in untold)
    assert not any(isnan(token.logprob) for token in told)
