"""Messages and their replies, in branches. Plain values and jobs: no tensor is kept with a session."""

from dataclasses import dataclass, field

from workbench.dashboard.engine import Job
from workbench.dashboard.engine.talk import Talk

MOST_MESSAGES = 200


@dataclass(eq=False)
class Message:
    """What was asked, the job that answers, and the recipe last asked for in each column."""

    talk: Talk
    job: Job
    _wanted: dict[int, str] = field(default_factory=dict)

    def steer(self, column: int, recipe: str) -> None:
        """Use another recipe from the next token on, where it is another."""
        if recipe != self._wanted.get(column, self.talk.asked.columns[column].recipe):
            self._wanted[column] = recipe
            self.talk.change(column, recipe)

    def again(self, model: str) -> tuple[str, str]:
        """The command and the Python that say the same again."""
        from workbench.dashboard.parts.again import command_of, python_of

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

    def upto(self, number: int) -> "Conversation":
        """A branch that ends before a message, so that it can be said again; the last message is replayed in place."""
        self.branches.append(self.messages[:number])
        self.at = len(self.branches) - 1
        return self
