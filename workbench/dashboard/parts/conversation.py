"""Messages and their replies, in branches. Plain values and jobs: no tensor is kept with a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.dashboard.engine import Job
from workbench.dashboard.engine.talk import Talk

MOST_MESSAGES = 200


@dataclass(eq=False)
class Message:
    """What was asked, the job that answers, and what the rack held for each column when it was last looked at."""

    talk: Talk
    job: Job
    rack: dict[str, str] = field(default_factory=dict)

    def steer(self, rack: Mapping[str, str]) -> None:
        """Use the rack's recipe from the next token on, where it was changed since: what is replayed was asked under
        another rack, and stays as it was asked until somebody turns something."""
        for number, column in enumerate(self.talk.asked.columns):
            recipe = rack.get(column.name, "")
            if recipe != self.rack.get(column.name, ""):
                self.talk.change(number, recipe)
        self.rack = dict(rack)

    def again(self, model: str) -> tuple[str, str]:
        """The command and the Python that say the same again."""
        from workbench.dashboard.parts.message_again import command_of, python_of

        return command_of(model, self.talk.asked), python_of(model, self.talk.asked)


@dataclass(eq=False)
class Conversation:
    """Branches of messages; one of them is on the page."""

    branches: list[list[Message]] = field(default_factory=lambda: [[]])
    at: int = 0

    @property
    def messages(self) -> list[Message]:
        return self.branches[self.at]

    @property
    def last(self) -> Message | None:
        return self.messages[-1] if self.messages else None

    @property
    def running(self) -> Message | None:
        """The message that is being answered, or waits to be."""
        return self.last if self.last is not None and not self.last.job.ended else None

    def history(self, column: str) -> tuple[tuple[str, str], ...]:
        """What was asked, and what this column answered; the baseline's answer where it had none."""
        pairs = []
        for message in self.messages:
            names = [each.name for each in message.talk.asked.columns]
            pairs.append((message.talk.asked.text, message.talk.text(names.index(column) if column in names else 0)))
        return tuple((asked, said) for asked, said in pairs if said)

    def add(self, message: Message) -> None:
        """Go on with a message; the oldest is let go where there are too many."""
        self.messages.append(message)
        del self.messages[:-MOST_MESSAGES]

    def branch(self, number: int) -> None:
        """Go on from after a message, in a branch of its own."""
        self.branches.append(self.messages[: number + 1])
        self.at = len(self.branches) - 1

    def replay(self, number: int, message: Message) -> None:
        """Say a message again, in a branch of its own that goes as far as it."""
        self.branches.append([*self.messages[:number], message])
        self.at = len(self.branches) - 1
