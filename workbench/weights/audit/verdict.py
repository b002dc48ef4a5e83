"""What was done to a checkpoint, in one of five words.

    unchanged                       no number differs by more than rounding
    edited along one direction      W' = (I - s r r^T) W of one r (see `finding`), or one vector was added and nothing
                                    else was changed (see `additions`)
    edited along several directions the same of more than one
    low-rank change                 most changed matrices are a change of low rank, and its rounding (see `lowrank`)
    finetuned                       anything else

How often the second and third are said of what nobody edited, and how often of what somebody did, was measured
(`calibration`), of additions excepted.
"""

from collections.abc import Sequence

from workbench.weights.audit.comparing import Compared

UNCHANGED, ONE, SEVERAL = "unchanged", "edited along one direction", "edited along several directions"
LOW_RANK, FINETUNED = "low-rank change", "finetuned"


def is_unchanged(compared: Sequence[Compared]) -> bool:
    """Whether all that both have is the same up to rounding."""
    return not any(one.changed or one.status == "changed" for one in compared)


def verdict_of(compared: Sequence[Compared], directions: int, ranks: Sequence[int]) -> str:
    """The word, by how many directions were edited, and the low ranks that explain the change."""
    if is_unchanged(compared):
        return UNCHANGED
    if directions:
        return ONE if directions == 1 else SEVERAL
    return LOW_RANK if ranks else FINETUNED
