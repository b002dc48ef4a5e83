"""The search's benchmark for a behaviour that is no refusal: answering in French.

Positive: a harmless prompt that asks for an answer in French. Negative: the same prompt as it is. The metric is the
log-odds that the reply begins with a common first word of French.
"""

from typing import Any

from experiments.benchmarks import benchmarks
from experiments.benchmarks.search import compare
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts

STARTS = ("La", "Le", "Les", "L", "Un", "Une", "Pour", "Voici", "Il", "Bonjour")


@benchmarks.register("search-french")
def search_french(subject: Subject, rounds: int) -> dict[str, Any]:
    """Candidates scored a second, for answering in French."""
    return compare(subject, rounds, french_pairs(), STARTS)


def french_pairs() -> ContrastPairs:
    """Prompts that ask for French, and prompts that do not; no topic is on both sides."""
    plain = builtin_prompts("harmless")
    half = len(plain) // 2
    asking = [f"{prompt.text} Answer in French." for prompt in plain[:half]]
    return ContrastPairs(Prompts.of(asking, "french", "french"), plain[half:])
