"""Making a model harder to abliterate: finetuning as adapters of low rank, and what the same search still finds."""

from workbench.studies.defence.method import Defence, defences
from workbench.studies.defence.training import DefenceSettings, merge, train_defence

__all__ = ["Defence", "DefenceSettings", "defences", "merge", "train_defence"]
