"""What is attributed and patched for: one number a prompt, read from the logits after its last token.

    log-odds     log(sum_R p) - log(1 - sum_R p)         the refusal metric of Arditi et al. 2024, as a search uses it
    difference   mean_R logit - mean_C logit             linear in the logits, so that it is a sum of parts

R are the first tokens of refusals, C those of compliance: what the model itself most often begins with when it is asked
something harmless, less R.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Float64
from torch import Tensor

from workbench.errors import UsageError
from workbench.evaluation.refusal import RefusalTokens, refusal_metric, refusal_tokens
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts, builtin_prompts, for_tuning
from workbench.prompts.locks import is_locked

_LEAST_SHARE = 0.1  # of the harmless prompts that a first token must answer, to count as one
_ASKED = 32  # harmless prompts
_LEAST_LEFT = 8  # prompts to choose tokens by


@runtime_checkable
class Metric(Protocol):
    """One number for each row of logits."""

    def __call__(self, logits: Float[Tensor, "batch vocab"]) -> Float64[Tensor, " batch"]: ...


@dataclass(frozen=True)
class RefusalLogOdds:
    """The log-odds that the reply begins with one of `tokens`."""

    tokens: tuple[int, ...]

    def __call__(self, logits: Float[Tensor, "batch vocab"]) -> Float64[Tensor, " batch"]:
        return refusal_metric(logits, self.tokens)


@dataclass(frozen=True)
class LogitDifference:
    """The mean logit of `towards` less that of `away`; UsageError where there is nothing to compare."""

    towards: tuple[int, ...]
    away: tuple[int, ...]

    def __post_init__(self) -> None:
        shared = set(self.towards) & set(self.away)
        if not self.towards or not self.away or shared:
            what = f"share the tokens {sorted(shared)}" if shared else "hold one that is empty"
            raise UsageError(f"Two sets of tokens are compared, and they {what}; name tokens of refusal and others.")

    def __call__(self, logits: Float[Tensor, "batch vocab"]) -> Float64[Tensor, " batch"]:
        wide = logits.double()
        return wide[:, list(self.towards)].mean(dim=-1) - wide[:, list(self.away)].mean(dim=-1)


def tuning_pool(prompts: Prompts, reported: Prompts, side: str) -> Prompts:
    """Prompts to choose tokens by: those of `prompts` that are not reported on, or built-in ones of that side.

    Built-in training prompts serve where `prompts` are a test part or hardly any is left.
    """
    locked = prompts.locked or any(is_locked(prompt.text) for prompt in prompts)
    seen = {prompt.digest for prompt in reported}
    left = prompts.without(seen)
    if locked or len(left) < _LEAST_LEFT:
        left = builtin_prompts(side, "train").without(seen)
    return left.require(_LEAST_LEFT, "Choosing tokens")


def compliance_tokens(
    subject: Subject, harmless: Prompts, refusal: Sequence[int], given: Sequence[str] | None = None
) -> RefusalTokens:
    """The first tokens of compliance: what is `given`, or what the model says first to harmless prompts.

    These should be prompts that nothing is reported on (`tuning_pool`); PromptError where they are a test part.

    Raises UsageError where every one of them begins as refusals do, so that no token is left to compare with.
    """
    if given:
        return refusal_tokens(subject, harmless, given)
    asked = for_tuning(harmless, "the choice of tokens").sample(_ASKED)
    batches = [batch for _, batch in subject.batches(token_rows(subject, asked), 16)]
    firsts = Counter(int(token) for part in subject.last_logits(batches) for token in part.argmax(dim=-1))
    ids = tuple(t for t, count in firsts.most_common() if count >= _LEAST_SHARE * len(asked) and t not in set(refusal))
    if not ids:
        raise UsageError(
            f"{subject.name} begins its replies to {len(asked)} harmless prompts as refusals begin, or each in another "
            "way, so there is no token of compliance to compare with; name some with --compliance-token."
        )
    texts = tuple(subject.tokenizer.decode([token]) for token in ids)
    return RefusalTokens(ids, texts, f"first tokens of its replies to {len(asked)} harmless prompts")
