"""What a model under test said is data to its judge, never an instruction (Greshake et al. 2023, arXiv:2302.12173).

Two things could let a reply speak to its judge in another's voice: the end of the delimiters that it stands in, and
the tokens by which a chat template marks turns. The first is made of a digest of the very texts, which no text
holds; the second are pulled apart, so that the tokenizer reads them as plain characters.
"""

from workbench.models import Subject
from workbench.runs import digest_json

_LENGTH = 16


def fence_for(*texts: str) -> str:
    """A mark that none of the texts holds: the same one for the same texts, so that a judge can be asked again."""
    mark = digest_json(list(texts))[:_LENGTH]
    while any(mark in text.lower() for text in texts):
        mark = digest_json([mark, *texts])[:_LENGTH]
    return mark


def fenced(what: str, text: str, fence: str) -> str:
    """The text between two lines that only whoever knows the fence can write."""
    return f"[BEGIN {what} {fence}]\n{text}\n[END {what} {fence}]"


def defused(subject: Subject, text: str) -> str:
    """The text with the model's special tokens pulled apart, so that none of them opens or ends a turn."""
    special = {token.content for token in subject.tokenizer.added_tokens_decoder.values() if token.special}
    for token in sorted(special, key=len, reverse=True):
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text
