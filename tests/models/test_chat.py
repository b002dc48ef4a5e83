"""Chat templates: what is rendered, and where the post-instruction tokens are."""

from pathlib import Path

import pytest

from tests.conftest import random_direction
from tests.tiny import save_model
from workbench.activations import capture
from workbench.errors import CaptureError, ModelError, PromptError, UsageError
from workbench.interventions import Ablate, match_ratios, random_control
from workbench.models import Subject, open_model, post_instruction_length, render, token_rows
from workbench.prompts import Prompt, Prompts

USER = [{"role": "user", "content": "Hi"}]


def test_post_instruction_tokens_are_those_after_the_text(llama: Subject) -> None:
    # <|end|> <|assistant|> and a newline
    assert post_instruction_length(llama) == 3
    ids = token_rows(llama, Prompts.of(["Something else entirely"]))[0][-3:]
    assert llama.tokenizer.decode(ids) == "<|end|><|assistant|>\n"


@pytest.mark.parametrize(
    ("template", "length"),
    [
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", 1),
        ("{% for m in messages %}Q: {{ m.content | trim }}\n{% endfor %}A:", 3),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", 1),
    ],
)
def test_post_instruction_tokens_come_from_any_template(tmp_path: Path, template: str, length: int) -> None:
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    assert post_instruction_length(subject) == length


def test_a_template_that_ends_with_the_text_has_no_post_instruction_token(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    assert post_instruction_length(subject) == 0
    with pytest.raises(CaptureError, match="writes nothing after the user's text"):
        capture(subject, Prompts.of(["one", "two"]))
    control = random_control(subject, Ablate(random_direction(subject)).at("all"), Prompts.of(["one", "two"]))
    assert match_ratios(control) == [pytest.approx(1.0, abs=0.05)]


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(tmp_path: Path) -> None:
    template = (
        "{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}"
        '[{{ day }}|{{ strftime_now( "%Y" ) }}]{% for m in messages %}{{ m.content }}{% endfor %}>'
    )
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    assert render(subject, USER) == f"[26 Jul 2024|2024]{USER[0]['content']}>"


@pytest.mark.parametrize(
    "fault", ["{{ 1 / 0 }}", "{{ messages + 1 }}", "{{ none.x.y }}", "{{ raise_exception('no') }}"]
)
def test_a_template_that_fails_is_one_sentence(tmp_path: Path, fault: str) -> None:
    subject = open_model(str(save_model("llama", tmp_path / "m", template=fault)), dtype="float32")
    with pytest.raises(PromptError, match="The chat template of m fails on the roles user"):
        render(subject, USER)


def test_post_instruction_tokens_are_those_of_the_prompts_own_thinking(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}>"
        "{% if enable_thinking is defined and not enable_thinking %}<t></t>{% endif %}"
    )
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    plain, quiet = Prompts.of(["one", "three"]), Prompts.of(["one", "three"]).changed(thinking=False)
    assert len(capture(subject, plain).positions) == 1
    assert len(capture(subject, quiet).positions) == 1 + len("<t></t>")
    for mixed in (Prompts((plain[0], quiet[1])), plain.changed(prefill="Sure")):
        with pytest.raises(CaptureError, match="stand elsewhere in each prompt"):
            capture(subject, mixed)
    assert capture(subject, plain.changed(prefill="Sure"), positions=[-1]).positions == (-1,)


def test_a_model_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    folder = save_model("gpt2", tmp_path / "m", template=None)
    with pytest.raises(ModelError, match=r"no chat template.*--chat-template"):
        render(open_model(str(folder), dtype="float32"), USER)
    given = open_model(str(folder), dtype="float32", chat_template="{{ messages[0].content }}!")
    assert render(given, USER) == "Hi!"


def test_a_conversation_is_rendered_whole(llama: Subject) -> None:
    prompt = Prompt(
        text="And now?",
        system="Be brief.",
        history=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        prefill="Sure",
    )
    text = llama.tokenizer.decode(token_rows(llama, [prompt])[0])
    assert text == (
        "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>And now?<|end|><|assistant|>\nSure"
    )


def test_thinking_reaches_templates_that_know_it(tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{% if enable_thinking is defined %}|{{ enable_thinking }}{% endif %}"
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    assert render(subject, USER) == "Hi"
    assert render(subject, USER, thinking=False) == "Hi|False"


def test_roles_that_a_template_refuses_are_one_sentence(tmp_path: Path) -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    with pytest.raises(PromptError, match="fails on the roles system, user: System role not supported"):
        render(subject, [{"role": "system", "content": "s"}, *USER])


def test_a_template_cannot_reach_the_interpreter(tmp_path: Path) -> None:
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    with pytest.raises(PromptError):
        render(subject, USER)


def test_a_prompt_longer_than_the_context_is_an_error(llama: Subject) -> None:
    rows = token_rows(llama, Prompts.of(["short", "x" * 400]))
    with pytest.raises(PromptError, match=r"Prompt 2 \(ending in 'x+'\) has \d+ tokens and 8 more.*at most 256"):
        llama.batches(rows, 1, reserve=8)
    with pytest.raises(UsageError, match="A reply of 256 tokens does not fit"):
        llama.batches(rows[:1], 1, reserve=256)
    with pytest.raises(PromptError, match="no prompts"):
        llama.batch([])
