"""What the discovered concepts are about: the texts and tokens where each is most active, and the words it writes.

A search by words ranks known and discovered concepts by the words of their names, descriptions, examples and top texts
(TF-IDF, cosine).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from workbench.concepts.active import scale_of
from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.corpus import Corpus
from workbench.concepts.labels import ConceptSet
from workbench.concepts.taught import taught
from workbench.models import Head, Subject

_AT_ONCE = 4096  # tokens


@dataclass(frozen=True)
class Discovered:
    """A discovered concept: how often it is active, where most, and which tokens its vector makes likelier."""

    number: int
    share: float  # of tokens
    words: tuple[str, ...]
    read: tuple[str, ...]  # the tokens at which it is most active
    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its most written words, as a name."""
        return " / ".join(self.words[:3]) or f"discovered {self.number}"


def discovered_in(subject: Subject, made: Bottleneck, concepts: ConceptSet) -> list[Discovered]:
    """Every discovered concept, named by the training texts of a concept set."""
    made.check_fits(subject)
    train = taught(subject, concepts, "train", made.site)
    return name_discovered(subject, made, train.corpus, concepts.part("train").texts)


def name_discovered(
    subject: Subject, made: Bottleneck, corpus: Corpus, texts: Sequence[str], n_top: int = 5
) -> list[Discovered]:
    """Every discovered concept; the most often active first."""
    values, tokens, counts = _most_active(made, corpus, n_top)
    words, text_of = _written(subject, made, Head.of(subject)), corpus.text_of()
    found = []
    for number in range(len(made.encoder)):
        rows = tokens[number][values[number] > 0].tolist()
        read = tuple(_said(subject, int(corpus.ids[row])) for row in rows)
        its = tuple(dict.fromkeys(texts[int(text_of[row])] for row in rows))
        found.append(Discovered(number, float(counts[number]) / len(corpus.acts), words[number], read, its))
    return sorted(found, key=lambda each: -each.share)


def _most_active(made: Bottleneck, corpus: Corpus, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each discovered concept its largest activations, at which tokens, and at how many it is active."""
    m = len(made.encoder)
    values, tokens = torch.zeros(m, n), torch.zeros(m, n, dtype=torch.long)
    counts = torch.zeros(m, dtype=torch.long)
    for start in range(0, len(corpus.acts), _AT_ONCE):
        wide = corpus.acts[start : start + _AT_ONCE].float()
        active = made.discovered_reader(wide / scale_of(wide))
        dense = torch.zeros(len(wide), m).scatter(1, active.concepts, active.values)
        counts += (dense > 0).sum(dim=0)
        here = dense.T.topk(min(n, len(wide)), dim=1)
        both = torch.cat([values, here.values], dim=1)
        places = torch.cat([tokens, here.indices + start], dim=1)
        best = both.topk(n, dim=1)
        values, tokens = best.values, places.gather(1, best.indices)
    return values, tokens, counts


def _written(subject: Subject, made: Bottleneck, head: Head, n: int = 8) -> list[tuple[str, ...]]:
    """The tokens whose logits each discovered vector raises most."""
    rows = head.unembedding
    weighted = (made.decoder * head.gain).to(rows.dtype)
    found = []
    for part in weighted.split(64):
        found.extend((part @ rows.T).float().topk(n, dim=1).indices.tolist())
    return [tuple(_said(subject, token) for token in tokens) for tokens in found]


def _said(subject: Subject, token: int) -> str:
    return str(subject.tokenizer.decode([token])).strip()


def search_concepts(
    words: str, concepts: ConceptSet, discovered: Sequence[Discovered] = (), n: int = 10
) -> list[tuple[str, float]]:
    """The concepts that fit some words best, with their cosine; known ones by name, discovered as `#NUMBER NAME`."""
    known = [(c.name, " ".join([c.name] * 5 + [c.description] * 3 + list(c.positive))) for c in concepts.concepts]
    found = [(f"#{d.number} {d.name}", " ".join([*d.words, *d.read, *d.texts])) for d in discovered]
    names, documents = zip(*(known + found), strict=True)
    fitted = TfidfVectorizer(sublinear_tf=True)
    matrix = fitted.fit_transform(documents)
    fits = (matrix @ fitted.transform([words]).T).toarray()[:, 0]
    order = sorted(range(len(names)), key=lambda i: -fits[i])[:n]
    return [(names[i], float(fits[i])) for i in order if fits[i] > 0]
