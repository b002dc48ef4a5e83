"""How likely a concept is in a text, as the activations of a model say that is not the one that is steered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workbench.concepts import ConceptSet
from workbench.concepts.corpus import capture_corpus
from workbench.concepts.taught import Taught, taught
from workbench.models import Site, Subject


@dataclass(frozen=True)
class Reader:
    """A logistic regression for each concept, and its AUROC on test texts, against the concept's own near misses."""

    subject: Subject
    probes: tuple[Pipeline, ...]
    aurocs: tuple[float, ...]

    @classmethod
    def fitted(cls, subject: Subject, concepts: ConceptSet) -> "Reader":
        """Fitted to mean activations over the training texts, in the middle of the model."""
        train, test = (taught(subject, concepts, part, _middle(subject)) for part in ("train", "test"))
        x, y = (texts.averaged(lambda x: x).numpy() for texts in (train, test))
        probes, found = [], []
        for column in range(len(concepts)):
            # Texts of other concepts count as not showing it: replies are of anything.
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced"))
            probes.append(probe.fit(x, np.nan_to_num(train.labels[:, column])))
            found.append(_auroc(probe.decision_function(y), test.labels[:, column]))
        return cls(subject, tuple(probes), tuple(found))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [text concept]."""
        whole = [text if len(text.split()) > 1 else f"{text} ... ..." for text in texts]
        corpus = capture_corpus(self.subject, whole, _middle(self.subject))
        x = Taught(corpus, np.zeros((len(texts), 1), dtype=np.float32)).averaged(lambda x: x).numpy()
        return np.stack([probe.predict_proba(x)[:, 1] for probe in self.probes], axis=1)


def _middle(subject: Subject) -> Site:
    return Site(subject.n_layers // 2, "resid_post")


def _auroc(decisions: np.ndarray, labels: np.ndarray) -> float:
    known = ~np.isnan(labels)
    return float(roc_auc_score(labels[known], decisions[known]))
