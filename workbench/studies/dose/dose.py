"""How much is enough, and how much too much? One control of a recipe, turned through its doses.

1. At every dose: replies to harmful and harmless prompts, judged; the refusal metric; KL on the base's own replies. The
   same along a matched random direction.
2. A dose works where at least `works` of the prompts do what was aimed at, in coherent replies. It does harm where the
   mean KL at later tokens is above `kl_limit`, or more than `broken_limit` of all replies are broken.
3. The window: from the smallest dose from which on every dose works, to the largest up to which no dose does harm.
   Where the two cross, there is none, and which of them fails is said.
4. Each prompt has a dose of its own: the smallest from which on its reply is what was aimed at. Prompts whose refusal
   metric moves the other way are counted.

Doses are chosen here, so that test prompts are locked out. The recipe at the chosen dose carries the prompts that it
was chosen by, and `evaluate` reports it on others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.display import Shown
from workbench.evaluation import Evaluation
from workbench.evaluation.comparison import BASELINE, values_of
from workbench.interventions.edit import number
from workbench.statistics import Score, rate_score
from workbench.studies.dose.settings import DoseSettings

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

CONTROL = "random "


@dataclass(frozen=True)
class Dose(Shown):
    """An evaluation with a condition for every dose, and what follows from it."""

    evaluation: Evaluation
    settings: DoseSettings

    def __repr__(self) -> str:
        return f"Dose({self.settings.control}, {self.said})"

    def score(self, dose: float, group: str, measure: str) -> Score:
        return self.evaluation.score(name_of(dose), group, measure)

    def works(self, dose: float) -> bool:
        return self.score(dose, self.settings.asked, self.settings.wanted).value >= self.settings.works

    def harm(self, dose: float) -> str:
        """What harm the dose does, or nothing."""
        kl = self.score(dose, "divergence", "kl").value
        if kl > self.settings.kl_limit:
            return f"KL {kl:.2g} above {self.settings.kl_limit:g}"
        broken = self.broken(dose)
        if broken.value > self.settings.broken_limit:
            return f"{broken.value:.0%} broken replies, above {self.settings.broken_limit:.0%}"
        return ""

    def broken(self, dose: float) -> Score:
        """Broken replies to both sets."""
        parts = [self.score(dose, asked, "broken") for asked in ("harmful", "harmless")]
        return rate_score("broken", sum(round(p.value * p.n) for p in parts), sum(p.n for p in parts), "lower")

    @property
    def smallest_that_works(self) -> float | None:
        """The smallest dose that works, and from which on every dose works or does harm."""
        fine = _from_which_on(self.settings.ordered, lambda dose: self.works(dose) or bool(self.harm(dose)))
        if fine is None:
            return None
        doses = self.settings.ordered[self.settings.ordered.index(fine) :]
        return next((dose for dose in doses if self.works(dose)), None)

    @property
    def largest_without_harm(self) -> float | None:
        """The largest dose up to which no dose does harm."""
        best = None
        for dose in self.settings.ordered:
            if self.harm(dose):
                break
            best = dose
        return best

    @property
    def window(self) -> tuple[float, float] | None:
        """From the smallest that works to the largest without harm, where there is such a window."""
        low, high = self.smallest_that_works, self.largest_without_harm
        return None if low is None or high is None or abs(low) > abs(high) else (low, high)

    @property
    def chosen(self) -> float | None:
        """The dose to report on other prompts: the smallest of the window."""
        return None if self.window is None else self.window[0]

    @property
    def said(self) -> str:
        """The window in a sentence."""
        limits = f"harm: KL above {self.settings.kl_limit:g} nats or broken above {self.settings.broken_limit:.0%}"
        if self.window is not None:
            return f"works without harm from {self.window[0]:g} to {self.window[1]:g} ({limits})"
        low, high = self.smallest_that_works, self.largest_without_harm
        works = "no dose works" if low is None else f"works from {low:g}"
        harms = "every dose does harm" if high is None else f"does no harm up to {high:g}"
        return f"no window: {works}, {harms} ({limits})"

    def own_doses(self) -> dict[str, float | None]:
        """For each prompt, the smallest dose, 0 among them, from which on its reply is what was aimed at, or None."""
        asked, wanted = self.settings.asked, self.settings.wanted
        doses = {0.0: BASELINE} | {dose: name_of(dose) for dose in self.settings.ordered}
        values = {dose: self._values(name, asked, wanted) for dose, name in doses.items()}

        def reached(key: str) -> float | None:
            return _from_which_on(tuple(doses), lambda dose: values[dose].get(key) == 1.0)

        return {key: reached(key) for key in values[0.0]}

    def wrong_way(self, dose: float) -> Score | None:
        """The share of prompts whose refusal metric moves away from what is aimed at; None where it was not read."""
        measure = f"{self.settings.asked}_odds"
        before, after = (self._values(c, "refusal-odds", measure) for c in (BASELINE, name_of(dose)))
        if not before:
            return None
        sign = -1 if self.settings.goal == "comply" else 1
        wrong = sum(sign * (after[key] - before[key]) < 0 for key in before)
        return rate_score("wrong way", wrong, len(before), "lower")

    def _values(self, condition: str, group: str, measure: str) -> dict[str, float]:
        items = [p.items for p in self.evaluation.parts if (p.condition, p.metric) == (condition, group)]
        return values_of(items[0], measure) if items else {}

    def rows(self) -> list[dict[str, Any]]:
        """One row a dose."""
        return [self._row(dose) for dose in self.settings.ordered]

    def _row(self, dose: float) -> dict[str, Any]:
        wrong, asked, wanted = self.wrong_way(dose), self.settings.asked, self.settings.wanted
        change = self.evaluation.difference(name_of(dose), asked, wanted)
        control = f"{CONTROL}{name_of(dose)}"
        known = control in self.evaluation.conditions
        return {
            "dose": dose,
            "aimed_at": self.score(dose, asked, wanted).model_dump(),
            "change": change and change.model_dump() | {"says": change.says},
            "control": self.evaluation.score(control, asked, wanted).model_dump() if known else None,
            "kl": self.score(dose, "divergence", "kl").model_dump(),
            "broken": self.broken(dose).model_dump(),
            "wrong_way": wrong and wrong.model_dump(),
            "works": self.works(dose),
            "harm": self.harm(dose),
        }

    def to_json(self) -> dict[str, Any]:
        own = self.own_doses()
        return {
            "settings": self.settings.to_json(),
            "baseline": self.evaluation.score(BASELINE, self.settings.asked, self.settings.wanted).model_dump(),
            "window": self.window,
            "chosen": self.chosen,
            "smallest_that_works": self.smallest_that_works,
            "largest_without_harm": self.largest_without_harm,
            "said": self.said,
            "doses": self.rows(),
            "own_doses": own,
            "never": sum(dose is None for dose in own.values()),
            "evaluation": self.evaluation.to_json(),
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a dose; what has an interval, in columns of its own."""
        import pandas

        return pandas.json_normalize(self.rows())

    def plot(self) -> "Figure":
        """Every measure that a dose is judged by, with 95 % bands, beside the controls; the window is shaded."""
        from workbench.plots.doses import dose_panels, doses_figure

        held = self.settings
        doses = [(dose, name_of(dose)) for dose in held.ordered]
        controls = [(dose, CONTROL + name) for dose, name in doses] if held.controls else []
        limits = (held.works, held.broken_limit, held.kl_limit)
        aimed = (held.asked, held.wanted)
        panels = dose_panels(self.evaluation.score, [(0.0, BASELINE), *doses], controls, aimed, limits)
        return doses_figure(panels, f"dose ({held.control})", self.window)


def _from_which_on(doses: Sequence[float], good: Callable[[float], bool]) -> float | None:
    """The first of the doses from which on all of them are good."""
    first = None
    for dose in reversed(doses):
        if not good(dose):
            break
        first = dose
    return first


def name_of(dose: float) -> str:
    """The condition of a dose."""
    return number(dose)
