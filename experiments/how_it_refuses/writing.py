"""What acts in the model: which parts write the refusal, where the difference comes from, which heads carry it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from experiments.how_it_refuses.study import Part, Study, means
from probes.patching import (
    ActivationPatching,
    HeadAblation,
    LogitAttribution,
    LogitDifference,
    RefusalLogOdds,
    ablate_heads,
    attention_patterns,
    attribute_logits,
    causal_path,
    compliance_tokens,
    pair_prompts,
    patch_activations,
    tuning_pool,
)
from probes.patching.attributed import Part as Writer
from probes.patching.path import Step
from probes.patching.shares import halves
from workbench.studies.parts import Valued

ALL = "all parts"
_FIRST = 3  # parts and heads that are named


def written_by(study: Study) -> Part:
    """Direct logit attribution: what each part adds to refusal against compliance."""
    pairs, tokens = study.drawn(study.settings.n_parts), study.refusal
    pool = tuning_pool(study.train.negative, pairs.negative, "harmless")
    complying = compliance_tokens(study.subject, pool, tokens.ids)
    metric = LogitDifference(tokens.ids, complying.ids)
    found = attribute_logits(study.subject, pairs.positive, pairs.negative, metric)
    groups = _groups(found, study.subject.n_layers * 3 // 4)
    gaps = {name: found.gap(*parts) for name, parts in groups.items()}
    sums = [f"{name} write {gap.format('+.2f')}" for name, gap in gaps.items() if name != ALL]
    ranked = ", ".join(f"{part} {found.gap(part).format('+.2f')}" for part in found.ranked[:_FIRST])
    random = found.gap(*found.parts, control=True)
    named = ", ".join(map(repr, complying.texts))
    says = [
        f"On harmful prompts refusal gains {gaps[ALL].format('+.2f')} logits on {named} more than on harmless ones; "
        f"{', '.join(sums)}. Most by {ranked}.",
        f"Random tokens gain {random.format('+.2f')}. Parts were ranked on half of the prompts and are told of on "
        f"the other (n={random.n} of each side); what acts through later parts is not seen here.",
    ]
    numbers = {name: gap.model_dump() for name, gap in (gaps | {f"{ALL}, random tokens": random}).items()}
    return Part(says, [found.plot(), found.plot_heads()], _logits(found, groups), {"gaps": numbers})


def _groups(found: LogitAttribution, late: int) -> dict[str, tuple[Writer, ...]]:
    """Parts that are summed: all of them first."""
    return {
        ALL: found.parts,
        "MLPs": tuple(part for part in found.parts if part.kind == "MLP"),
        "heads": tuple(part for part in found.parts if part.kind == "head"),
        f"layers {late} and later": tuple(p for p in found.parts if p.layer is not None and p.layer >= late),
    }


def _logits(found: LogitAttribution, groups: Mapping[str, Sequence[Writer]]) -> list[Valued]:
    """What each group adds, on either side; and what all add to random tokens."""
    each = {
        f"{name}/{side}/logits of refusal": found.values(*parts, side=side)
        for name, parts in groups.items()
        for side in ("harmful", "harmless")
    }
    random = {
        f"{ALL}, random tokens/{side}/logits": found.values(*found.parts, side=control)
        for side, control in (("harmful", "control"), ("harmless", "control_harmless"))
    }
    return means(each | random)


def where_from(study: Study) -> Part:
    """Exact activation patching from harmless into harmful runs, and the path that it shows."""
    n = study.settings.n_patched
    drawn = study.drawn(4 * n)
    pairs = pair_prompts(study.subject, drawn.positive, drawn.negative, n=n)
    patched = patch_activations(study.subject, pairs, RefusalLogOdds(study.refusal.ids))
    found = causal_path(patched)
    strongest = found.strongest
    carriers = list(found.carriers)
    moved = [step for before, step in pairwise(carriers) if step.place != before.place]
    route = ", ".join(f"at {step.place!r} from layer {step.layer} on" for step in [carriers[0], *moved])
    says = [
        f"The difference is carried {route}; the strongest single writer is {strongest.stream} of layer "
        f"{strongest.layer} at {strongest.place!r}, which alone undoes {strongest.share.format('.2f')} of it "
        f"(another harmful prompt there: {strongest.control.format('.2f')}).",
        f"Places are chosen on half of {len(pairs)} pairs and told of on the other half (n={strongest.share.n}).",
    ]
    shares = {"share": strongest.share.model_dump(), "control": strongest.control.model_dump()}
    return Part(says, [found.plot(), patched.plot()], _changes(patched, strongest), shares)


def _changes(patched: ActivationPatching, step: Step) -> list[Valued]:
    """What the share of a step is made of, on the pairs that it is told of."""
    told = patched.of_pairs(halves(len(patched.gaps))[1])
    where, at = (step.stream, step.layer, step.place), f"{step.stream} of layer {step.layer} at {step.place!r}"
    return means({
        "harmless less harmful/pairs/log-odds of refusal": told.gaps.tolist(),
        f"{at} from the harmless prompt/pairs/change of log-odds": told.values(*where),
        f"{at} from another harmful prompt/pairs/change of log-odds": told.values(*where, control=True),
    })  # fmt: skip


def heads(study: Study) -> Part:
    """Each head ablated by itself, the first ones told of on prompts that did not choose them."""
    n = study.settings.n_heads
    drawn = study.drawn(2 * n)
    pairs = pair_prompts(study.subject, drawn.positive, drawn.negative, n=n)
    found = ablate_heads(study.subject, pairs, RefusalLogOdds(study.refusal.ids))
    first = found.chosen[:_FIRST]
    patterns = attention_patterns(study.subject, pairs.harmful[0], first)
    told = ", ".join(f"L{layer}H{head} {found.score((layer, head)).format('.2f')}" for layer, head in first)
    says = [
        f"Ablated one by one, the heads that change the log-odds of refusal (from {float(found.baseline.mean()):.1f}) "
        f"most are {told}; heads drawn at random {found.random_heads.format('.2f')}.",
        f"Chosen on half of {len(pairs)} harmful prompts, told of on the rest (n={found.random_heads.n}). Heads stand "
        "in for each other, so that one alone may matter little.",
    ]
    return Part(says, [found.plot(), found.plot_map(), patterns.plot()], _ablations(found), {})


def _ablations(found: HeadAblation) -> list[Valued]:
    """The chosen heads', with a random prompt of the same class in their place, and random heads'."""
    each = {"no edit/harmful/log-odds of refusal": found.baseline.tolist()}
    for place, (layer, head) in enumerate(found.chosen):
        name = f"L{layer}H{head}"
        each[f"{name} ablated/harmful/change of log-odds"] = found.effects[place].tolist()
        each[f"{name} of another prompt/harmful/change of log-odds"] = found.control[place].tolist()
    return means(each | {"random heads ablated/harmful/change of log-odds": found.random.mean(dim=0).tolist()})
