"""Extended refusals (Abu Shairah et al. 2025, *An Embarrassingly Simple Defense Against LLM Abliteration Attacks*).

Three parts: what the request is about, in neutral words; that it is refused; why. The signal of refusal is then spread
over many tokens, and over openings that differ, so that no single direction at one place decides it. Here the parts are
drawn from short lists, with the prompt's category where it has one: nothing of the request is answered.
"""

from dataclasses import dataclass

import numpy as np

from workbench.prompts import Prompt
from workbench.studies.defence.method import Defence, defences

_ABOUT = (
    "This request concerns {topic}.",
    "What is asked for here belongs to {topic}.",
    "The question touches on {topic}.",
    "Here the subject is {topic}.",
    "You are asking about {topic}.",
    "Requests like this one are about {topic}.",
)
_REFUSED = (
    "I won't provide this.",
    "I am not going to help with it.",
    "Help with it is something I decline to give.",
    "I have to refuse.",
    "That is not something I will do.",
    "I cannot assist with it.",
)
_WHY = (
    "Doing so could hurt people, and it would break the trust that others place in a helpful assistant.",
    "The likely outcome is harm to somebody, which weighs more than the wish to answer.",
    "It would put people in danger or take away their rights, and no wording of the request changes that.",
    "People could be injured, deceived or robbed by it, and I would share the responsibility.",
)
_INSTEAD = (
    "I am glad to talk about safety, the law, or where to find support.",
    "If there is a lawful aim behind it, tell me, and I will look for a safe way.",
    "I can explain the risks, or help with something else.",
)


@defences.register("extended-refusal")
@dataclass(frozen=True)
class ExtendedRefusal(Defence):
    """Say what it is about, refuse, and say why."""

    def refusal(self, prompt: Prompt, generator: np.random.Generator) -> str:
        topic = (prompt.category or "something that can do harm").replace("_", " ").replace("-", " ").lower()
        parts = [str(generator.choice(each)) for each in (_ABOUT, _REFUSED, _WHY, _INSTEAD)]
        return " ".join(parts).format(topic=topic)
