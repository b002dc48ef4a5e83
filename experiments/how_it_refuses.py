"""How does a model come to refuse? One page: where harm is read, where refusal is written, which heads carry it.

    python -m experiments.how_it_refuses OUT HARMFUL HARMLESS JAILBREAKBENCH HARMLESS_TEST [MODEL]

Every part is a question, answered by `probes` in its own way with its own controls, and kept below OUT as soon as it is
answered: the same command goes on with the parts that are not there yet, and writes OUT/index.html from all of them.
Sentences are made from the numbers, whatever these are. JAILBREAKBENCH and HARMLESS_TEST choose and fit nothing.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from probes.harm_and_refusal import INSTRUCTION, TEMPLATE, harm_and_refusal
from probes.lenses import fitted_lens, lens_curves
from probes.linear import sweep_probes
from probes.linear.controls import SHUFFLED, WORDS
from probes.patching import (
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
from workbench.errors import UsageError
from workbench.evaluation.refusal import RefusalTokens, refusal_tokens
from workbench.models import Site, Subject, open_model
from workbench.models.catalog import DEFAULT_MODEL
from workbench.plots.kept import read_figure
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts, load_prompts
from workbench.runs import digest_json, note, read_json, reporting, rich_reporter, write_json, write_text
from workbench.runs.pages import drawn_in, page, paragraph, section, table

N_PROBED, N_LEANING, N_PARTS, N_PATCHED, N_HEADS = 256, 128, 32, 8, 16
VERSION = 2  # of what a kept part means
LEAST_AUROC = 0.95  # from which a layer is said to know
_PLACE = -1  # the token after which the reply begins


@dataclass(frozen=True)
class Study:
    """The model, prompts to learn from, and prompts to report on."""

    subject: Subject
    train: ContrastPairs
    test: ContrastPairs

    def drawn(self, n: int) -> ContrastPairs:
        return ContrastPairs(self.train.positive.sample(n, 0), self.train.negative.sample(n, 0))

    @cached_property
    def refusal(self) -> RefusalTokens:
        return refusal_tokens(self.subject, self.train.positive)


class Part(NamedTuple):
    """What was found, in sentences, and its figures."""

    says: list[str]
    figures: list[Any]


def main(arguments: Sequence[str]) -> None:
    """Answer what is not answered yet; write the page."""
    if not 5 <= len(arguments) <= 6:
        raise UsageError(f"Give OUT, four files and perhaps a model, not {len(arguments)} arguments; see {__file__}.")
    out, files = Path(arguments[0]), arguments[1:5]
    name = arguments[5] if len(arguments) > 5 else DEFAULT_MODEL
    sides = [load_prompts(file, label) for file, label in zip(files, ("harmful", "harmless") * 2, strict=True)]
    with rich_reporter() as reporter, reporting(reporter):
        study = Study(open_model(name), ContrastPairs(*sides[:2]), ContrastPairs(*sides[2:]))
        answered: dict[str, dict[str, Any]] = {}
        for title in PARTS:
            answered[title] = kept(out, title, study)
            write_text(out / "index.html", written(study, answered))
    for title, part in answered.items():
        sys.stdout.write("\n".join([title, *(f"  {line}" for line in part["says"])]) + "\n")


def kept(out: Path, title: str, study: Study) -> dict[str, Any]:
    """A part as it was kept, or answered now and kept."""
    settings = [VERSION, N_PROBED, N_LEANING, N_PARTS, N_PATCHED, N_HEADS, LEAST_AUROC]
    prompts = [study.train.digest, study.test.digest]
    asked = {"title": title, "model": study.subject.identity, "prompts": prompts, "settings": settings}
    key, file = digest_json(asked), out / f"{title.lower().replace(' ', '-').rstrip('?')}.json"
    found = read_json(file) if file.exists() else None
    if isinstance(found, dict) and found.get("key") == key:
        note(f"{title} Answered before, in {file}.")
        return dict(found)
    part = PARTS[title](study)
    found = {"key": key, "says": part.says, "figures": [figure.to_json() for figure in part.figures]}
    write_json(file, found)
    return found


def written(study: Study, answered: Mapping[str, Mapping[str, Any]]) -> str:
    """The page: first the answers, then each part with its figures."""
    place, sections = 0, [table(("question", "answer"), [(title, part["says"][0]) for title, part in answered.items()])]
    for title, part in answered.items():
        body = [paragraph(line) for line in part["says"]]
        for figure in part["figures"]:
            body.append(drawn_in(read_figure(figure), place))
            place += 1
        sections.append(section(title, "".join(body)))
    return page(f"How {study.subject.name} comes to refuse", sections)


def harm_read(study: Study) -> Part:
    """A ridge probe at every place, reported on prompts apart."""
    pairs = study.drawn(N_PROBED)
    found = sweep_probes(study.subject, pairs, report=study.test)
    (site, position), _ = found.best()
    reported, words = found.reported, found.controls[WORDS]
    rows = [row for row in found.rows() if row["stream"] == "resid_post" and row["position"] == _PLACE]
    first = next((row for row in rows if row["auroc"] >= LEAST_AUROC), None)
    early = f"layer {first['layer']}" if first else "no layer"
    return Part(
        [
            f"Best at {site}, token {position}: on prompts that took no part the AUROC is {reported.format('.3f')} "
            f"(n={reported.n}); of a bag of words {words.format('.3f')}, of shuffled labels "
            f"{found.controls[SHUFFLED].format('.2f')}.",
            f"At the prompt's last token the stream after {early} is the first whose AUROC on held-out topics reaches "
            f"{LEAST_AUROC}; the best of all places with shuffled labels has {found.shuffled_best:.2f}.",
        ],
        [found.plot()],
    )


def same_line(study: Study) -> Part:
    """Harm at the instruction's last token against refusal at the template's (Zhao et al. 2025)."""
    pairs = study.drawn(N_LEANING)
    looks = builtin_prompts("looks-harmful", "train")
    mixed = Prompts((*pairs.negative, *looks), "harmless, and looks harmful")
    found = harm_and_refusal(study.subject, pairs.positive, mixed)
    layer = max(range(len(found.cosines)), key=lambda each: _parted(found, each))
    said = [
        f"At layer {layer}, where plain cases lie farthest apart, the directions of harm and of refusal have a cosine "
        f"of {found.cosines[layer]:.2f} (over all layers {min(found.cosines):.2f} to {max(found.cosines):.2f})."
    ]
    for group in ("accepted harmful", "refused harmless"):
        if group in found.present:
            told = [found.leaning(group, position, layer) for position in (INSTRUCTION, TEMPLATE)]
            said.append(
                f"There {group} prompts lean by {told[0].format('.3f')} at the {INSTRUCTION} and by "
                f"{told[1].format('.3f')} at the {TEMPLATE} (n={told[0].n}); above 0 is the side of refused harmful."
            )
        else:
            said.append(f"No prompt was {group}, so that what it would lean to is not known.")
    dealt = found.leaning("refused harmful", TEMPLATE, layer, dealt=True)
    said.append(f"Where plain cases are dealt out, refused harmful ones lean by {dealt.format('.3f')} there.")
    at = found.guard_layer(INSTRUCTION)
    flags = {group: found.flagged(group, INSTRUCTION, at).format(".2f") for group in found.present}
    others = [group for group in ("accepted harmful", "refused harmless") if group in flags]
    flagged = ", ".join(f"{flags[group]} of {group}" for group in others) or "none of other kinds"
    said.append(
        f"A latent guard (nearer the harmful mean, {INSTRUCTION}) flags {flagged}; its layer, {at}, was chosen by "
        f"plain cases, of which it flags {flags['refused harmful']} of refused harmful and "
        f"{flags['accepted harmless']} of accepted harmless."
    )
    return Part(said, [found.plot()])


def _parted(found: Any, layer: int) -> float:
    one, other = (found.leaning(group, TEMPLATE, layer).value for group in ("refused harmful", "accepted harmless"))
    return float(one - other)


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
    return Part(
        [
            f"Read by {'; by '.join(said)}. At the end the log-odds of refusal are {ends[0]} on harmful prompts and "
            f"{ends[1]} on harmless ones (n={found['logit'].gap(last).n} a side at least).",
            "A tuned lens reads refusal where harm is known, if the two go together in the prompts it was fitted to; "
            f"the logit lens reads what is written already. Refusals begin with {', '.join(map(repr, tokens.texts))} "
            f"({tokens.source}).",
        ],
        [each.plot() for each in found.values()],
    )


def _from(site: Site | None) -> str:
    return "at no site" if site is None else f"from {site} on"


def written_by(study: Study) -> Part:
    """Direct logit attribution: what each part adds to refusal against compliance."""
    pairs, tokens = study.drawn(N_PARTS), study.refusal
    pool = tuning_pool(study.train.negative, pairs.negative, "harmless")
    complying = compliance_tokens(study.subject, pool, tokens.ids)
    metric = LogitDifference(tokens.ids, complying.ids)
    found = attribute_logits(study.subject, pairs.positive, pairs.negative, metric)
    late = study.subject.n_layers * 3 // 4
    groups = {
        "all parts": found.parts,
        "MLPs": [part for part in found.parts if part.kind == "MLP"],
        "heads": [part for part in found.parts if part.kind == "head"],
        f"layers {late} and later": [part for part in found.parts if part.layer is not None and part.layer >= late],
    }
    sums = {name: found.gap(*parts).format("+.2f") for name, parts in groups.items()}
    first = ", ".join(f"{part} {found.gap(part).format('+.2f')}" for part in found.ranked[:3])
    random = found.gap(*found.parts, control=True)
    named = ", ".join(map(repr, complying.texts))
    return Part(
        [
            f"On harmful prompts refusal gains {sums.pop('all parts')} logits on {named} more than on harmless ones; "
            + ", ".join(f"{name} write {told}" for name, told in sums.items())
            + f". Most by {first}.",
            f"Random tokens gain {random.format('+.2f')}. Parts were ranked on half of the prompts and are told of on "
            f"the other (n={random.n} of each side); what acts through later parts is not seen here.",
        ],
        [found.plot(), found.plot_heads()],
    )


def where_from(study: Study) -> Part:
    """Exact activation patching from harmless into harmful runs, and the path that it shows."""
    drawn = study.drawn(4 * N_PATCHED)
    pairs = pair_prompts(study.subject, drawn.positive, drawn.negative, n=N_PATCHED)
    patched = patch_activations(study.subject, pairs, RefusalLogOdds(study.refusal.ids))
    found = causal_path(patched)
    strongest = found.strongest
    carriers = list(found.carriers)
    moved = [step for before, step in pairwise(carriers) if step.place != before.place]
    route = ", ".join(f"at {step.place!r} from layer {step.layer} on" for step in [carriers[0], *moved])
    return Part(
        [
            f"The difference is carried {route}; the strongest single writer is {strongest.stream} of layer "
            f"{strongest.layer} at {strongest.place!r}, which alone undoes {strongest.share.format('.2f')} of it "
            f"(another harmful prompt there: {strongest.control.format('.2f')}).",
            f"Places are chosen on half of {N_PATCHED} pairs and told of on the other half (n={strongest.share.n}).",
        ],
        [found.plot(), patched.plot()],
    )


def heads(study: Study) -> Part:
    """Each head ablated by itself, the first ones told of on prompts that did not choose them."""
    drawn = study.drawn(2 * N_HEADS)
    pairs = pair_prompts(study.subject, drawn.positive, drawn.negative, n=N_HEADS)
    found = ablate_heads(study.subject, pairs, RefusalLogOdds(study.refusal.ids))
    patterns = attention_patterns(study.subject, pairs.harmful[0], found.chosen[:3])
    told = ", ".join(f"L{layer}H{head} {found.score((layer, head)).format('.2f')}" for layer, head in found.chosen[:3])
    base = float(found.baseline.mean())
    return Part(
        [
            f"Ablated one by one, the heads that change the log-odds of refusal (from {base:.1f}) most are {told}; "
            f"heads drawn at random {found.random_heads.format('.2f')}.",
            f"Chosen on half of {N_HEADS} harmful prompts, told of on the rest (n={found.random_heads.n}). Heads stand "
            "in for each other, so that one alone may matter little.",
        ],
        [found.plot(), found.plot_map(), patterns.plot()],
    )


PARTS: Mapping[str, Callable[[Study], Part]] = {
    "Where is harm read?": harm_read,
    "Is it the line that refuses?": same_line,
    "From which layer on does it mean to refuse?": means_to_refuse,
    "What writes the refusal?": written_by,
    "Where does it come from?": where_from,
    "Which heads carry it?": heads,
}


if __name__ == "__main__":
    main(sys.argv[1:])
