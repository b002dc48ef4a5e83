"""Token microscope: one text, token by token and layer by layer.

Where each token stands along a direction or a probe, what would come next as the model is and under a recipe, and what
each layer would say if the model ended there. It opens on a prompt that ships; the open model looks at any other.
"""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from probes.microscope.seen import EDITED, Seen
from workbench.dashboard import shelf
from workbench.dashboard.parts.conversation import Conversation
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.looked import MOST_CHARACTERS, Wish, work
from workbench.dashboard.parts.message_again import named
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import SHIPPED, shipped
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.prompts import Prompt

_MINE, _HERE = "what I write", "looked at here"
_LENS = {"its own probability": "likely", "the probability of refusal tokens": "probability"}


def show() -> None:
    """The page."""
    st.title("Token microscope", anchor=False)
    st.caption(
        "One text, token by token and layer by layer: where it stands along a direction, what comes next, and what "
        "each layer would say if the model ended there."
    )
    seen = _found()
    if seen is not None:
        token = _token(seen)
        _coordinates(seen, token)
        _next(seen, token)
        _lens(seen, token)


def _found() -> Seen | None:
    """What ships, or what the open model was looked at for in this session."""
    with st.expander("Look at a text of your own", icon=":material/biotech:"):
        looked: Seen | None = _looked()
    chosen = SHIPPED if looked is None else _HERE
    if looked is not None:
        chosen = str(st.segmented_control("Result", [SHIPPED, _HERE], default=_HERE, required=True, key="seen-result"))
    try:
        seen = looked if looked is not None and chosen == _HERE else Seen.model_validate(shipped("microscope")["seen"])
    except (WorkbenchError, ValueError, KeyError) as error:
        st.info(plain(error) if isinstance(error, WorkbenchError) else "What ships is damaged; install it again.")
        return None
    st.text(f"{seen.text}{' → ' + seen.prefill if seen.prefill else ''}")
    st.caption(
        f"{seen.model['name']}; {chosen}. One text: these numbers are no estimates, and say nothing of other texts."
    )
    return seen


def _looked() -> Seen | None:
    subject = engine().subject
    names = list(shelf.shelf(None if subject is None else subject.digest))
    wish = _wish(names)
    ready = subject is not None and bool(wish.direction or wish.upload)
    if not ready:
        st.caption("The model is still being opened, or there is no direction for it yet.")
    result: Seen | None = job_of("microscope", "Look", "Microscope", work(wish), disabled=not ready)
    return result


def _wish(names: list[str]) -> Wish:
    left, right = st.columns(2)
    with left:
        said = _said()
        text, prefill = "", ""
        if said is None:
            text = st.text_area("Text", "", key="seen-text", max_chars=MOST_CHARACTERS, placeholder=_EXAMPLE, **KEPT)
            prefill = st.text_input("A reply begun", "", key="seen-begun", max_chars=MOST_CHARACTERS, **KEPT)
    with right:
        direction = st.selectbox("Direction", names, key="seen-along", **KEPT)
        upload = st.file_uploader(
            "or a direction or probe of your own", ["safetensors"], key="seen-along-file", max_upload_size=1,
        )  # fmt: skip
    one, two, three = st.columns([3, 2, 1])
    usual = f"ablate({direction}) @ all" if direction else ""
    with one:
        recipe = st.text_input("Recipe that is compared", usual, key="seen-recipe", help=_RECIPE, **KEPT)
    with two:
        followed = st.text_input("Tokens to follow", "", key="seen-follow", placeholder="those of refusal", **KEPT)
    with three:
        last = st.number_input("Last tokens", 4, 48, 16, key="seen-last", **KEPT)
    content = None if upload is None else upload.getvalue()
    tokens = tuple((followed or "").split(","))
    chosen = tuple(each for each in tokens if each.strip())
    return Wish(text or "", prefill or "", said, direction or "", content, recipe or "", chosen, int(last))


def _said() -> "Prompt | None":
    """A message of the chat with its reply; None where the text is written here."""
    talked: Conversation | None = st.session_state.get("conversation")
    replies = {
        f"message {number}, {column.name}": (message, place)
        for number, message in enumerate(talked.messages if talked else [], 1)
        for place, column in enumerate(message.talk.asked.columns)
    }
    if not replies:
        return None
    chosen = str(st.selectbox("Which text", [_MINE, *replies], key="seen-which"))
    if chosen not in replies:
        return None
    message, place = replies[chosen]
    found = message.talk.asked.prompts()[place].model_copy(update={"prefill": message.talk.text(place)})
    st.text(f"{found.text[:200]} → {found.prefill[:200]}")
    return found


def _token(seen: Seen) -> int:
    labels = {number: f"{number - len(seen.tokens)}: {text!r}" for number, text in enumerate(seen.tokens)}
    chosen = st.select_slider(
        "Token", list(labels), len(labels) - 1, format_func=labels.__getitem__, key="seen-token", help=_TOKEN, **KEPT
    )
    return int(chosen)


def _coordinates(seen: Seen, token: int) -> None:
    st.subheader("Where it stands along the direction", anchor=False)
    views = list(seen.views) + ["change"] * (EDITED in seen.views)
    view = _one_of("Shown", views, "seen-view")
    under = f" The recipe is {seen.recipe}." if seen.recipe else ""
    st.text(f"{seen.direction}.{under}")
    st.caption("Under the recipe, less the model as it is." if view == "change" else _UNIT)
    alt = (
        f"A map of {len(seen.tokens)} tokens by {len(seen.depths)} depths, {view}: the coordinate along the direction, "
        "blue below 0, white at 0, orange above."
    )
    shown(seen.plot(view, token), seen.to_pandas(), "microscope-map", alt, command=_command(seen), python=_python(seen))


def _next(seen: Seen, token: int) -> None:
    st.subheader("What comes after the chosen token", anchor=False)
    if seen.kl is not None:
        st.caption(f"KL(under the recipe || as it is) here: {seen.kl[token]:.3g} nats.")
    alt = f"Probabilities of the likeliest next tokens after token {token - len(seen.tokens)}, under each recipe."
    shown(seen.plot_next(token), seen.next_table(token), "microscope-next", alt, command=_command(seen))


def _lens(seen: Seen, token: int) -> None:
    st.subheader("What each layer would say", anchor=False)
    view, by = _one_of("Read", list(seen.views), "seen-lens"), _one_of("Ground", list(_LENS), "seen-by")
    st.caption("A logit lens: the stream read as if the model ended there, up to the chosen token.")
    st.text(f"Refusal tokens, or those that were named: {_quoted(seen)}.")
    alt = f"A map of tokens by depth with the likeliest next token in each cell; the ground is {by}."
    figure, table = seen.plot_lens(view, _LENS[by], upto=token), _only(seen.to_pandas(), view)
    shown(figure, table, "microscope-lens", alt, command=_command(seen))


def _one_of(label: str, options: list[str], key: str) -> str:
    """What is chosen; the first where the page's address asks for what is not there."""
    chosen = st.segmented_control(label, options, default=options[0], required=True, key=key, **KEPT)
    return chosen if chosen in options else options[0]


def _only(table: pd.DataFrame, view: str) -> pd.DataFrame:
    found: pd.DataFrame = table[table.recipe == view]
    return found


def _quoted(seen: Seen) -> str:
    return ", ".join(map(repr, seen.followed))


def _command(seen: Seen) -> str:
    """The lens of it on the command line."""
    from shlex import quote

    directions = "".join(f" --direction {name}={quote(str(shelf.path_of(name)))}" for name in named(seen.recipe))
    recipe = f"{directions} --recipe {quote(seen.recipe)}" if seen.recipe else ""
    return f"workbench lens {seen.model['name']} --prompt {quote(seen.text)} --last {len(seen.tokens)}{recipe}"


def _python(seen: Seen) -> str:
    lines = [
        "import workbench as wb", "from probes.microscope.looking import look", "",
        f"subject = wb.open_model({seen.model['name']!r})",
        'direction = wb.Direction.load("direction.safetensors")',
        f"recipe = wb.parse_recipe({seen.recipe!r}, lambda name: direction)" if seen.recipe else "recipe = None",
        f"prompt = wb.Prompt(text={seen.text!r}, prefill={seen.prefill!r})",
        f"followed = [token for text in {seen.followed!r} for token in subject.tokenizer(text)['input_ids']]",
        f"seen = look(subject, prompt, direction, followed, recipe=recipe, last={len(seen.tokens)})", "seen.plot()",
    ]  # fmt: skip
    return "\n".join(lines)


_EXAMPLE = "A message to the model"
_RECIPE = "In its written form, such as ablate(refusal) @ all. Names are those of directions at hand. Empty: none."
_UNIT = (
    "0 is the mean of the negative (harmless) class and 1 that of the positive (harmful) one at the outlined layer, "
    "where the direction was found; elsewhere it is the same projection in the same unit, and 0 is no class's mean."
)
_TOKEN = "The outlined column; what comes after it stands below the map."
