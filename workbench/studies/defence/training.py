"""Train a defence as an adapter of low rank on the open model's own weights, and merge it into a folder.

    loss = CE(refusals | harmful, attacked or not) + CE(own answers | harmless)      on the tokens of the replies

The weights of the model stay as they are and ask for no gradient; the logits are computed where there is a reply alone.
Under attack, after every layer

    h <- h - (h . r_l) r_l        r_l: mean(harmful) - mean(harmless) after layer l, of the model as it stands

for harmful prompts, in a share of the steps (Yu et al. 2024).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, pad

from workbench.errors import ModelError, UsageError
from workbench.models import Subject
from workbench.models.packing import pack_linears
from workbench.prompts import ContrastPairs, for_tuning
from workbench.runs import note, track, writing
from workbench.studies.defence.lessons import Lesson, lessons
from workbench.studies.defence.method import Defence, defences

_TARGETS = "all-linear"
_PROBED = 16  # prompts of each kind that the direction under attack is read from
_RENEWED = 8  # steps


@dataclass(frozen=True)
class DefenceSettings:
    """The settings of a training; each default is written here and nowhere else."""

    method: str = "extended-refusal"
    steps: int = 48
    batch: int = 4  # of each kind
    rank: int = 8
    rate: float = 2e-4
    reply_tokens: int = 48
    n_train: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank", "reply_tokens", "n_train"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least 1.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def train_defence(
    subject: Subject, pairs: ContrastPairs, out: Path, settings: DefenceSettings | None = None
) -> list[float]:
    """Train a defence on `pairs` (harmful, and harmless to be answered as before); write the merged model to `out`.

    Returns the loss of each step. Raises UsageError where peft is not installed, PromptError where a set is a test
    part, ModelError where the model was not opened from a folder of its own.
    """
    chosen = settings or DefenceSettings()
    sides = (for_tuning(side, "a defence") for side in (pairs.positive, pairs.negative))
    train = ContrastPairs(*(side.sample(chosen.n_train, chosen.seed) for side in sides))
    defence = defences[chosen.method]()
    refusals, answers = lessons(subject, train, defence, chosen.reply_tokens, chosen.seed)
    model = _adapted(subject, chosen)
    trainer = _Trainer(subject, model, defence, refusals, answers, chosen)
    losses = [trainer.step(number) for number in track(range(chosen.steps), f"Training ({chosen.method})")]
    note(f"Loss {np.mean(losses[:4]):.2f} at the start, {np.mean(losses[-4:]):.2f} at the end.")
    merge(subject, model, out)
    return losses


def _adapted(subject: Subject, settings: DefenceSettings) -> Any:
    """A second copy of the model, with an adapter that learns."""
    from transformers import AutoModelForCausalLM

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError("Training an adapter needs peft: pip install 'alignment-workbench[train]'.") from None
    if subject.folder is None:
        raise ModelError(f"{subject.name} was not opened from a folder of weights, so it cannot be trained.")
    torch.manual_seed(settings.seed)
    model = AutoModelForCausalLM.from_pretrained(
        subject.folder, dtype=subject.dtype, trust_remote_code=False, use_safetensors=True
    ).to(subject.device)
    pack_linears(model)
    config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=_TARGETS, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def merge(subject: Subject, model: Any, out: Path) -> None:
    """Write the model with its adapter merged, and the tokenizer, as a folder that opens like any other."""
    whole = model.merge_and_unload()
    with writing(out) as draft:
        whole.save_pretrained(draft)
        subject.tokenizer.save_pretrained(draft)


@dataclass
class _Trainer:
    subject: Subject
    model: Any
    defence: Defence
    refusals: Sequence[Lesson]
    answers: Sequence[Lesson]
    settings: DefenceSettings

    def __post_init__(self) -> None:
        learned = [each for each in self.model.parameters() if each.requires_grad]
        self.optimiser = torch.optim.AdamW(learned, lr=self.settings.rate, weight_decay=0.0)
        self.units: Tensor | None = None
        self.read_at = 0

    def step(self, number: int) -> float:
        """One step on a batch of refusals and one of answers; returns the loss."""
        generator = np.random.default_rng([self.settings.seed, number])
        attacked = generator.random() < self.defence.attacked
        if attacked and (self.units is None or number >= self.read_at + _RENEWED):
            self.units, self.read_at = self._direction(), number
        total = 0.0
        for lessons_of, under in ((self.refusals, attacked), (self.answers, False)):
            size = min(self.settings.batch, len(lessons_of))
            batch = [lessons_of[int(i)] for i in generator.choice(len(lessons_of), size, replace=False)]
            with self._ablated() if under else _nothing():
                loss = self._loss(batch)
                loss.backward()
            total += float(loss.detach())
        self.optimiser.param_groups[0]["lr"] = self.settings.rate * (1 - number / self.settings.steps)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total / 2

    def _loss(self, batch: Sequence[Lesson]) -> Tensor:
        """Cross-entropy of the replies' tokens."""
        rows = [[*lesson.prompt, *lesson.reply] for lesson in batch]
        ids, mask = self._padded(rows)
        places = torch.zeros_like(ids).bool()
        for index, lesson in enumerate(batch):
            places[index, len(lesson.prompt) - 1 : len(rows[index]) - 1] = True
        hidden = self._inner()(input_ids=ids, attention_mask=mask).last_hidden_state
        targets = torch.cat([torch.tensor(lesson.reply) for lesson in batch]).to(ids.device)
        return cross_entropy(self.model.get_output_embeddings()(hidden[places]).float(), targets)

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows padded on the right, as training has it, and where they are."""
        longest = max(map(len, rows))
        ids = torch.stack(
            [pad(torch.tensor(row), (0, longest - len(row)), value=self.subject.pad_token) for row in rows]
        )
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(longest)[None] < lengths[:, None]).long()
        return ids.to(self.subject.device), mask.to(self.subject.device)

    def _inner(self) -> Any:
        return self.model.get_base_model().get_decoder()

    @torch.no_grad()
    def _direction(self) -> Float[Tensor, "layer d_model"]:
        """What the model as it stands has between harmful and harmless prompts after each layer, as unit vectors."""
        means = []
        for lessons_of in (self.refusals, self.answers):
            rows = [lesson.prompt for lesson in lessons_of[:_PROBED]]
            ids, mask = self._padded(rows)
            states = self._inner()(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1:]
            last = mask.sum(dim=1) - 1
            means.append(torch.stack([h[torch.arange(len(rows)), last].float().mean(dim=0) for h in states]))
        return normalize(means[0] - means[1], dim=1)

    @contextmanager
    def _ablated(self) -> Iterator[None]:
        """The attack: after every layer, what lies along the direction is taken away."""
        assert self.units is not None
        handles = [
            layer.register_forward_hook(_removing(unit))
            for layer, unit in zip(self._inner().layers, self.units, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _removing(unit: Tensor) -> Callable[..., Any]:
    def hook(module: object, inputs: object, output: Any) -> Any:
        acts = output[0] if isinstance(output, tuple) else output
        along = unit.to(acts)
        found = acts - (acts @ along)[..., None] * along
        return (found, *output[1:]) if isinstance(output, tuple) else found

    return hook
