"""Which language a text is in, where that can be told, and whether a reply is in another than its prompt.

1. Most texts are plain English, which its commonest words show at once.
2. The others are named by py3langid (Barbaresi 2021, after Lui and Baldwin 2012), which needs no download.

Where a text is short, code, a list of names or otherwise unsure, nothing is said. Of languages that are hard to tell
apart one stands for all (Serbian for Croatian and Bosnian, Indonesian for Malay). Prompts that name a language or ask
for a translation may be answered in any. A system prompt no judge is shown: where that alone asks for another language,
the reply in it is called wrong.
"""

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ = 400  # characters
_LEAST_BYTES = 20  # of letters: seven Chinese ones, ten Russian ones
_LEAST_PHRASE = 4  # words between two marks: names stand in lists of fewer
_LEAST_ASKED = 3  # words: "Crème brûlée" is a request in any language
_SURE, _SURE_OF_PROMPT = 0.9, 0.8
_FENCED = re.compile(r"```.*?(```|$)", re.DOTALL)
_MARKS = re.compile(r"[^\w\s'’-]|\n|(?<=\s)-")
_SYNTAX = re.compile(r"[{}()\[\];=<>_\\]")
_COMMON = re.compile(
    r"\b(the|of|to|and|is|it|that|for|with|you|your|are|be|this|can|by|from|not|will|have|my|how|what|which|does|who"
    r"|when|where|write|give|tell|make|show|help|please)\b"
)
_OTHER_LETTERS = ["ar", "bg", "bn", "el", "fa", "he", "hi", "ja", "ko", "ru", "sr", "ta", "th", "uk", "ur", "zh"]
_LATIN_LETTERS = [
    "ca", "cs", "da", "de", "en", "es", "et", "fi", "fr", "hu", "id", "it", "lt", "lv", "nl", "pl", "pt", "ro", "sl",
    "sq", "sv", "sw", "tl", "tr", "vi",
]  # fmt: skip
_ASKS = re.compile(
    r"translat|languag|lingua|idioma|langue|sprache|anglais|ingl[eéê]s|englisch|tradu|traduz|übersetz|язык|англий|перев"
    r"|[语語译譯訳]|[英中日韩法德]文|영어|번역|english|french|german|spanish|italian|portug|dutch|russian|chinese|mandarin"
    r"|japan|korea|arab|hebrew|hindi|bengali|tamil|urdu|persian|farsi|turk|greek|latin|polish|czech|hungar|roman|swed"
    r"|danish|norweg|finnish|thai|viet|indones|malay|filipin|tagalog|swahili|ukrain|bulgar|serb|croat|catalan|haiku"
)
_DECLINES = re.compile(r"\b(sorry|apologi[sz]e|can(no|'|’)t|unable)\b")


def in_wrong_language(prompt: str, reply: str) -> bool:
    """Whether the reply is in another language than a prompt that asked for none.

    One that declines in English is left to the judges, who know what it says.
    """
    said = language_of(reply)
    if not said or asks_for_language(prompt) or (said == "en" and _DECLINES.search(reply.lower())):
        return False
    asked = _asked_in(prompt)
    return asked != said if asked else bool(prompt) and prompt.isascii() and said in _OTHER_LETTERS


def asks_for_language(prompt: str) -> bool:
    """Whether the prompt speaks of languages, so that a reply may be in any."""
    return bool(_ASKS.search(prompt.lower()))


def language_of(text: str) -> str:
    """The code of the language that a text is in, such as "en"; nothing where that cannot be told."""
    prose = _FENCED.sub(" ", text[:_READ])
    if _is_plain_english(prose):
        return "en"
    letters = "".join(character for character in prose if character.isalpha())
    too_short = _bytes(letters) < _LEAST_BYTES
    if too_short or len(_SYNTAX.findall(prose)) > 0.03 * len(prose) or not _has_phrases(prose):
        return ""
    found, sure = _identifier().classify(prose)
    return str(found) if sure >= _SURE else ""


@lru_cache(maxsize=4096)
def _asked_in(prompt: str) -> str:
    """As above, but a prompt is language, however short it is, from three words on."""
    asked = prompt[:_READ]
    if _is_plain_english(asked):
        return "en"
    if len(asked.split()) < _LEAST_ASKED and _is_mostly_latin(asked):
        return ""
    found, sure = _identifier().classify(asked)
    return str(found) if sure >= _SURE_OF_PROMPT else ""


def _is_plain_english(text: str) -> bool:
    return _is_mostly_latin(text) and len(_COMMON.findall(text.lower())) >= 0.2 * len(text.split()) > 0


def _has_phrases(text: str) -> bool:
    """Whether some words follow one another without a mark, or the script puts no spaces between words."""
    parts = _MARKS.split(text)
    return any(len(part.split()) >= _LEAST_PHRASE or _bytes(part) > 2 * len(part) for part in parts)


def _is_mostly_latin(text: str) -> bool:
    return _bytes(text) < 1.5 * len(text)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages(_OTHER_LETTERS + _LATIN_LETTERS)
    return made
