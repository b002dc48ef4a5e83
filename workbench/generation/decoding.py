"""Batched decoding: prompts are sorted by length and batched; replies come back in the order of the prompts."""

from collections.abc import Sequence

from workbench.errors import UsageError
from workbench.generation.replies import Replies, Reply
from workbench.generation.sampling import Sampling
from workbench.generation.session import Session
from workbench.interventions import Recipe, Steering
from workbench.models import Subject, token_rows
from workbench.prompts import Prompt, Prompts
from workbench.runs import track


def generate(
    subject: Subject,
    prompts: Prompts | Sequence[str | Prompt] | str,
    recipe: Recipe | Sequence[Recipe] | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 32,
    cache: bool = True,
) -> Replies:
    """Replies of `subject` under one recipe, or under one for each prompt.

    Raises PromptError where a prompt does not fit the context, RecipeError where a recipe does not fit.
    """
    asked = as_prompts(prompts)
    recipes = one_each(recipe, len(asked))
    sampling = Sampling(temperature, top_p, seed)
    if max_new_tokens < 1 or batch_size < 1:
        raise UsageError("max_new_tokens and batch_size must be at least 1.")
    replies: dict[int, Reply] = {}
    for group, batch in subject.batches(token_rows(subject, asked), batch_size, reserve=max_new_tokens):
        mine = recipe if isinstance(recipe, Recipe) or recipe is None else [recipes[index] for index in group]
        steering = Steering.of(subject, mine, len(group))
        session = Session(subject, batch, steering, sampling, [asked[index].digest for index in group], cache)
        with steering.applied():
            for _ in track(range(max_new_tokens), f"Generating {len(group)} replies"):
                session.step()
                if not session.talking:
                    break
        steering.finish()
        replies |= {index: reply_of(session, row, asked, index) for row, index in enumerate(group)}
    return Replies(tuple(replies[index] for index in range(len(asked))))


def side_by_side(subject: Subject, prompt: str | Prompts, recipes: Sequence[Recipe], **options: int | float) -> Replies:
    """Replies to one prompt under each of `recipes`, decoded in one batch; `options` as for `generate`."""
    asked = as_prompts(prompt)
    if len(asked) != 1:
        raise UsageError(f"Side by side is one prompt under several recipes; {len(asked)} prompts were given.")
    everywhere = Prompts(asked.items * len(recipes), asked.name)
    return generate(subject, everywhere, recipes, **options)  # type: ignore[arg-type]


def reply_of(session: Session, row: int, asked: Prompts, index: int) -> Reply:
    """The reply of a row as it stands, without the token that ended it."""
    finished = session.ended(row)
    tokens = tuple(session.said[row][:-1] if finished else session.said[row])
    return Reply(asked[index], session.subject.tokenizer.decode(tokens, skip_special_tokens=True), tokens, finished)


def as_prompts(prompts: Prompts | Sequence[str | Prompt] | str) -> Prompts:
    """Prompts from one text, or from texts and prompts."""
    if isinstance(prompts, Prompts):
        return prompts
    return Prompts.of([prompts] if isinstance(prompts, str) else list(prompts))


def one_each(recipe: Recipe | Sequence[Recipe] | None, n: int) -> list[Recipe]:
    """The recipes where there is one for each of `n` prompts; none where one is for all."""
    if recipe is None or isinstance(recipe, Recipe):
        return []
    if len(recipe) != n:
        raise UsageError(f"{len(recipe)} recipes were given for {n} prompts; give one, or one for each prompt.")
    return list(recipe)
