"""Whom a judge can ask: a model that is open here, or one behind an OpenAI-compatible endpoint (Zheng et al. 2023).

Either is handed conversations and answers each of them greedily, or with None where no usable answer came. A
question without an answer is never an error: one long reply, or one bad minute of a server, must not cost the run.
What cannot get better - a key that is refused, a model that is not there - is one at once.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import httpx
from pydantic import BaseModel, Field, ValidationError

from workbench.errors import ModelError, PromptError, UsageError, first_fault
from workbench.evaluation.untrusted import defused
from workbench.generation import generate
from workbench.models import Subject, token_rows
from workbench.prompts import Prompt, Prompts
from workbench.runs import note, track

Conversation = Sequence[Mapping[str, str]]  # messages with a role and a content, the last of them the user's
KEYS = ("WORKBENCH_JUDGE_KEY", "OPENAI_API_KEY")  # environment variables; the second is for its owner alone
_OWNER = "api.openai.com"
_LARGEST = 1_000_000  # bytes of an answer that are read
_FIRST_WAIT = 0.5  # seconds, doubled with every try
_LONGEST_WAIT = 20.0  # seconds that a server may ask for
_REFUSED = {
    401: f"refuses the key; set {KEYS[0]} to one that it takes",
    403: f"refuses the key, or the model to it; set {KEYS[0]} to one that may use it",
    404: "is not there; check --judge-url (it often ends in /v1) and --judge-model",
}


@runtime_checkable
class Asker(Protocol):
    """Answers conversations, in their order; None where there is no usable answer."""

    @property
    def name(self) -> str: ...

    def __call__(self, conversations: Sequence[Conversation]) -> list[str | None]: ...


@dataclass(frozen=True)
class SubjectAsker:
    """Asks an open model. Special tokens inside the messages are read as plain text."""

    subject: Subject
    max_new_tokens: int = 256
    batch_size: int = 8

    @property
    def name(self) -> str:
        return f"{self.subject.name} ({self.subject.digest[:12]})"

    def __call__(self, conversations: Sequence[Conversation]) -> list[str | None]:
        prompts = [self._prompt(conversation) for conversation in conversations]
        room = self.subject.context_length - self.max_new_tokens
        fits = [index for index, row in enumerate(token_rows(self.subject, prompts)) if len(row) <= room]
        if not fits:
            return _counted([None] * len(prompts))
        asked = Prompts(tuple(prompts[index] for index in fits), "questions to the judge")
        said = generate(self.subject, asked, max_new_tokens=self.max_new_tokens, batch_size=self.batch_size)
        texts = dict(zip(fits, said.texts, strict=True))
        return _counted([texts.get(index, "").strip() or None for index in range(len(prompts))])

    def _prompt(self, conversation: Conversation) -> Prompt:
        turns = [{"role": each["role"], "content": defused(self.subject, each["content"])} for each in conversation]
        system = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
        if not turns or turns[-1]["role"] != "user":
            raise PromptError("A question to a judge ends with what the user says; end the conversation with that.")
        # A judge that thinks aloud first would run out of tokens before it answers.
        fields = {"text": turns.pop()["content"], "system": system, "history": tuple(turns), "thinking": False}
        try:
            return Prompt.model_validate(fields)
        except ValidationError as error:
            raise PromptError(f"A question to the judge cannot be put ({first_fault(error)}); mend it.") from None


@dataclass(frozen=True)
class EndpointAsker:
    """Asks `model` at `url`/chat/completions. The key is sent to that address and shown nowhere."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    tries: int = 3
    at_once: int = 4
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_address(self.url)
        if self.tries < 1 or self.at_once < 1 or not 0 < self.timeout < math.inf:
            raise UsageError("A judge is asked at least once, one at a time, for more than 0 seconds; mend the number.")
        self._headers()  # a key that cannot be sent is found now

    @property
    def name(self) -> str:
        return f"{self.model} at {self.url.rstrip('/')}"

    def __call__(self, conversations: Sequence[Conversation]) -> list[str | None]:
        # Redirects are not followed: the key is for this address alone.
        options = {"timeout": self.timeout, "headers": self._headers(), "follow_redirects": False}
        with httpx.Client(**options) as client, ThreadPoolExecutor(self.at_once) as pool:  # type: ignore[arg-type]
            answers = pool.map(partial(self._answer, client), conversations)
            return _counted(list(track(answers, "Asking the judge", len(conversations))))

    def _headers(self) -> dict[str, str]:
        known = KEYS if httpx.URL(self.url).host == _OWNER else KEYS[:1]
        given = (self.key, *(os.environ.get(variable) for variable in known))
        key = next((key.strip() for key in given if key and key.strip()), None)
        # As it comes, or not at all: a packed answer could be far larger than what is read of it.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is None:
            return headers
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"The judge's key holds characters that no key has; set {KEYS[0]} to the key alone.")
        return headers | {"Authorization": f"Bearer {key}"}

    def _answer(self, client: httpx.Client, conversation: Conversation) -> str | None:
        for number in range(self.tries):
            reply = self._posted(client, conversation)
            self._check_taken(reply.status)
            if reply.content is not None or not reply.may_get_better:
                return reply.content
            if number + 1 < self.tries:
                self.sleep(max(_FIRST_WAIT * 2**number, reply.wait))
        return None

    def _posted(self, client: httpx.Client, conversation: Conversation) -> "_Reply":
        body = {"model": self.model, "messages": [dict(each) for each in conversation], "temperature": 0}
        deadline = time.monotonic() + self.timeout
        try:
            with client.stream("POST", f"{self.url.rstrip('/')}/chat/completions", content=json.dumps(body)) as taken:
                wait = _seconds(taken.headers.get("Retry-After", ""))
                return _Reply(taken.status_code, _read(taken, deadline), wait)
        except httpx.RequestError:
            return _Reply(0)

    def _check_taken(self, status: int) -> None:
        """Raise ModelError where no other question would fare better."""
        if status in _REFUSED:
            raise ModelError(f"The judge {self.name} {_REFUSED[status]}.")
        if 300 <= status < 400:
            raise ModelError(f"The judge {self.name} is somewhere else ({status}); give --judge-url where it is.")


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True)
class _Reply:
    """What came back: a status (0 where nothing did), what it says, and how long the server asks to wait."""

    status: int
    body: bytes = b""
    wait: float = 0.0

    @property
    def content(self) -> str | None:
        """The answer, or None where this is none: an error, no JSON, half of it, or nothing said in it."""
        if self.status != 200:
            return None
        try:
            return _Completion.model_validate_json(self.body).choices[0].message.content.strip() or None
        except ValidationError:
            return None

    @property
    def may_get_better(self) -> bool:
        return self.status in (0, 200, 408, 429) or self.status >= 500


def _check_address(url: str) -> None:
    """Raise UsageError where it is no plain web address; what may hold a password is not repeated."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        raise UsageError("The judge's address cannot be read; give one such as https://host/v1.") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise UsageError(f"A judge is asked over http or https, not {address.scheme!r}; give such an address.")
    if address.userinfo or address.query or address.fragment:
        raise UsageError(f"The judge's address holds more than a host and a path; a key belongs in {KEYS[0]}.")


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The body; nothing where it is too large, or comes too slowly."""
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > _LARGEST or time.monotonic() > deadline:
            return b""
    return bytes(body)


def _seconds(asked: str) -> float:
    """How long Retry-After asks to wait, up to a limit; a date asks for nothing."""
    return min(float(asked), _LONGEST_WAIT) if asked.isdecimal() and asked.isascii() else 0.0


def _counted(answers: list[str | None]) -> list[str | None]:
    if missing := sum(answer is None for answer in answers):
        note(f"The judge gave no usable answer to {missing} of {len(answers)} questions.")
    return answers
