"""What is read in the model: where harm is, whether refusal lies on its line, and from which layer on it is meant."""

from experiments.how_it_refuses.study import Part, Study, means
from probes.harm_and_refusal import INSTRUCTION, TEMPLATE, HarmAndRefusal, harm_and_refusal
from probes.lenses import LensCurves, fitted_lens, lens_curves
from probes.linear import sweep_probes
from probes.linear.controls import SHUFFLED, WORDS
from workbench.models import Site
from workbench.prompts import Prompts, builtin_prompts
from workbench.studies.parts import Valued

LEAST_AUROC = 0.95  # from which a layer is said to know
_PLACE = -1  # the token after which the reply begins
_MIXED = ("accepted harmful", "refused harmless")  # groups that give no mean


def harm_read(study: Study) -> Part:
    """A ridge probe at every place, reported on prompts apart."""
    pairs = study.drawn(study.settings.n_probed)
    found = sweep_probes(study.subject, pairs, report=study.test)
    (site, position), _ = found.best()
    reported, words = found.reported, found.controls[WORDS]
    rows = [row for row in found.rows() if row["stream"] == "resid_post" and row["position"] == _PLACE]
    first = next((row for row in rows if row["auroc"] >= LEAST_AUROC), None)
    early = f"layer {first['layer']}" if first else "no layer"
    says = [
        f"Best at {site}, token {position}: on prompts that took no part the AUROC is {reported.format('.3f')} "
        f"(n={reported.n}); of a bag of words {words.format('.3f')}, of shuffled labels "
        f"{found.controls[SHUFFLED].format('.2f')}.",
        f"At the prompt's last token the stream after {early} is the first whose AUROC on held-out topics reaches "
        f"{LEAST_AUROC}; the best of all places with shuffled labels has {found.shuffled_best:.2f}.",
    ]
    return Part(says, [found.plot()], [], {key: each for key, each in found.to_json().items() if key != "rows"})


def same_line(study: Study) -> Part:
    """Harm at the instruction's last token against refusal at the template's (Zhao et al. 2025)."""
    pairs = study.drawn(study.settings.n_leaning)
    looks = builtin_prompts("looks-harmful", "train")
    mixed = Prompts((*pairs.negative, *looks), "harmless, and looks harmful")
    found = harm_and_refusal(study.subject, pairs.positive, mixed)
    layer, at = max(range(len(found.cosines)), key=lambda each: _parted(found, each)), found.guard_layer(INSTRUCTION)
    first = (
        f"At layer {layer}, where plain cases lie farthest apart, the directions of harm and of refusal have a cosine "
        f"of {found.cosines[layer]:.2f} (over all layers {min(found.cosines):.2f} to {max(found.cosines):.2f})."
    )
    return Part(
        [first, *_leanings_said(found, layer), _guard_said(found, at)],
        [found.plot()],
        _leanings(found, layer) + _flags(found, at),
        {"layer": layer, "guard layer": at, "cosines": list(found.cosines)},
    )


def _parted(found: HarmAndRefusal, layer: int) -> float:
    one, other = (found.leaning(group, TEMPLATE, layer).value for group in ("refused harmful", "accepted harmless"))
    return one - other


def _leanings_said(found: HarmAndRefusal, layer: int) -> list[str]:
    """How the groups that gave no mean lean, and plain cases that were dealt out."""
    said = []
    for group in _MIXED:
        if group in found.present:
            told = [found.leaning(group, position, layer) for position in (INSTRUCTION, TEMPLATE)]
            said.append(
                f"There {group} prompts lean by {told[0].format('.3f')} at the {INSTRUCTION} and by "
                f"{told[1].format('.3f')} at the {TEMPLATE} (n={told[0].n}); above 0 is the side of refused harmful."
            )
        else:
            said.append(f"No prompt was {group}, so that what it would lean to is not known.")
    dealt = found.leaning("refused harmful", TEMPLATE, layer, dealt=True)
    return [*said, f"Where plain cases are dealt out, refused harmful ones lean by {dealt.format('.3f')} there."]


def _leanings(found: HarmAndRefusal, layer: int) -> list[Valued]:
    """The same as values."""
    each = {
        f"{position}, layer {layer}/{group}/leaning": found.values(group, position, layer)
        for group in _MIXED
        if group in found.present
        for position in (INSTRUCTION, TEMPLATE)
    }
    dealt = found.values("refused harmful", TEMPLATE, layer, dealt=True)
    return means(each | {f"{TEMPLATE}, layer {layer}, dealt out/refused harmful/leaning": dealt})


def _guard_said(found: HarmAndRefusal, layer: int) -> str:
    flags = {group: found.flagged(group, INSTRUCTION, layer).format(".2f") for group in found.present}
    flagged = ", ".join(f"{flags[group]} of {group}" for group in _MIXED if group in flags) or "none of other kinds"
    return (
        f"A latent guard (nearer the harmful mean, {INSTRUCTION}) flags {flagged}; its layer, {layer}, was chosen by "
        f"plain cases, of which it flags {flags['refused harmful']} of refused harmful and "
        f"{flags['accepted harmless']} of accepted harmless."
    )


def _flags(found: HarmAndRefusal, layer: int) -> list[Valued]:
    """The same as values, prompt by prompt."""
    leanings = {group: found.values(group, INSTRUCTION, layer) for group in found.present}
    return [
        Valued(
            name=f"latent guard, layer {layer}/{group}/flagged", kind="rate", values=tuple(float(x > 0) for x in each)
        )
        for group, each in leanings.items()
    ]


def means_to_refuse(study: Study) -> Part:
    """What each layer would say: the tuned lens, fitted to built-in prompts, read on those that took no part."""
    tokens = study.refusal
    taught, held = (
        Prompts((*builtin_prompts("harmful", part), *builtin_prompts("harmless", part)), f"built in, {part}")
        for part in ("train", "val")
    )
    sides = {"harmful": study.test.positive, "harmless": study.test.negative}
    lenses = {name: fitted_lens(study.subject, name, taught, held) for name in ("logit", "tuned")}
    found = {name: lens_curves(study.subject, lens, sides, {"refusal": tokens.ids}) for name, lens in lenses.items()}
    said = [
        f"the {name} lens: the sides part for good {_from(each.parts_from())}, and refusal is likelier than not "
        f"{_from(each.means_from())}"
        for name, each in found.items()
    ]
    last = found["logit"].sites[-1]
    ends = [found["logit"].score("log_odds", side, last).format(".1f") for side in sides]
    says = [
        f"Read by {'; by '.join(said)}. At the end the log-odds of refusal are {ends[0]} on harmful prompts and "
        f"{ends[1]} on harmless ones (n={found['logit'].gap(last).n} a side at least).",
        "A tuned lens reads refusal where harm is known, if the two go together in the prompts it was fitted to; "
        f"the logit lens reads what is written already. Refusals begin with {', '.join(map(repr, tokens.texts))} "
        f"({tokens.source}).",
    ]
    odds = {
        f"{name} lens, {site}/{side}/log-odds of refusal": each.values("log_odds", side, site)
        for name, each in found.items()
        for site in each.sites
        for side in sides
    }
    numbers = {name: _layers(each) for name, each in found.items()}
    return Part(says, [each.plot() for each in found.values()], means(odds), numbers)


def _from(site: Site | None) -> str:
    return "at no site" if site is None else f"from {site} on"


def _layers(found: LensCurves) -> dict[str, object]:
    """From where on, and how far the sides lie apart at the end."""
    places = {"parts from": found.parts_from(), "means from": found.means_from()}
    gap = found.gap(found.sites[-1]).model_dump()
    return {name: None if site is None else str(site) for name, site in places.items()} | {"gap at the end": gap}
