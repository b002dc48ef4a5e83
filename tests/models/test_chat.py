"""Chat templates: what is rendered, and where the post-instruction tokens are."""

from pathlib import Path

import pytest

from tests.tiny import save_model
from workbench.errors import ModelError, PromptError
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
    with pytest.raises(ModelError, match="writes nothing after the user's text"):
        post_instruction_length(subject)


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
    with pytest.raises(PromptError, match="refuses the roles system, user: System role not supported"):
        render(subject, [{"role": "system", "content": "s"}, *USER])


def test_a_template_cannot_reach_the_interpreter(tmp_path: Path) -> None:
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    subject = open_model(str(save_model("llama", tmp_path / "m", template=template)), dtype="float32")
    with pytest.raises(PromptError):
        render(subject, USER)


def test_a_prompt_longer_than_the_context_is_an_error(llama: Subject) -> None:
    rows = token_rows(llama, Prompts.of(["short", "x" * 400]))
    with pytest.raises(PromptError, match=r"Prompt 2 has \d+ tokens and 8 more.*at most 256"):
        llama.batch(rows, reserve=8)
    with pytest.raises(PromptError, match="no prompts"):
        llama.batch([])
