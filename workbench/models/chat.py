"""Conversations to text and token ids, by the model's own chat template.

The post-instruction tokens are the template's tokens between the end of the user's text and the model's reply.
They are found from the template itself: render two different instructions, tokenise, and count the tokens
that their ends have in common. So they are right for any template, also where the tokeniser merges the last
letter of the text with what follows.
"""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jinja2.exceptions import TemplateError

from workbench.errors import ModelError, PromptError

if TYPE_CHECKING:
    from workbench.models.subject import Subject

Message = dict[str, str]

# Some templates write today's date; here it is always this one, so that a run can be repeated on another day.
TODAY = datetime(2024, 7, 26)
_DATES = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
# A template is a program, and fails in a program's ways.
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)

# Different first and last words, letters and punctuation, so that a common end can only be the template's.
_PROBES = ("How do plants grow?", "List three rivers", "Write about summer.", "Why is it so 7")


def render(subject: "Subject", messages: Sequence[Message], *, prefill: str = "", thinking: bool | None = None) -> str:
    """The text that the model reads, up to where its reply begins (and the start of the reply, `prefill`).

    `thinking` is handed to templates that know `enable_thinking`; None leaves the template's default.

    Raises ModelError without a template, PromptError where the template refuses the roles.
    """
    tokenizer = subject.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{subject.name} has no chat template, so it cannot hold a conversation; use an instruct model, or "
            "give a Jinja template with --chat-template."
        )
    options: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
    if isinstance(tokenizer.chat_template, str):
        options["chat_template"] = _DATES.sub(_on_the_day, tokenizer.chat_template)
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **options)
    except _TEMPLATE_FAULTS as error:
        roles = ", ".join(message["role"] for message in messages)
        raise PromptError(f"The chat template of {subject.name} fails on the roles {roles}: {error}.") from error
    return str(text) + prefill


def _on_the_day(call: re.Match[str]) -> str:
    return json.dumps(TODAY.strftime(call[2]))


def encode(subject: "Subject", text: str) -> list[int]:
    """Token ids of rendered text; the template has already written its special tokens."""
    ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]


def post_instruction_length(subject: "Subject", thinking: bool | None = None) -> int:
    """How many template tokens stand between the user's text and the reply; 0 where the template writes none."""
    rows = [encode(subject, render(subject, [{"role": "user", "content": t}], thinking=thinking)) for t in _PROBES]
    common = 0
    while common < min(len(row) for row in rows) and len({row[-1 - common] for row in rows}) == 1:
        common += 1
    return common


@runtime_checkable
class Conversation(Protocol):
    """What can be rendered: messages, the start of a reply, and whether the model may think."""

    @property
    def messages(self) -> list[Message]: ...
    @property
    def prefill(self) -> str: ...
    @property
    def thinking(self) -> bool | None: ...


def token_rows(subject: "Subject", conversations: Iterable[Conversation]) -> list[list[int]]:
    """Token ids of each conversation, as the model reads them."""
    return [
        encode(subject, render(subject, talk.messages, prefill=talk.prefill, thinking=talk.thinking))
        for talk in conversations
    ]
