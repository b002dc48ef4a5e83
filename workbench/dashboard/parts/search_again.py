"""The command and the Python that find a direction again, from the two sides in files, one prompt a line."""

import shlex

from workbench.dashboard.parts.searched import Search
from workbench.runs import RunManifest

_FILES = ("shows.txt", "does-not.txt")
_BUILT_IN = ("harmful:train", "harmless:train")


def found_again(search: Search, *, ships: bool) -> tuple[str, str]:
    """A search; what ships was found of the built-in sets."""
    how, sides, model = search.settings, _BUILT_IN if ships else _FILES, search.model["name"]
    parts = [f"workbench find {shlex.quote(model)}", f"--harmful {sides[0]} --harmless {sides[1]}"]
    parts.append(f"--n-train {how['n_train']} --n-val {how['n_val']} --method {how['method']}")
    if layers := how.get("layers"):
        parts.append(f"--layers {layers[0]}-{layers[-1]}")
    parts += [f"--refusal-token {shlex.quote(start)}" for start in how["refusal_starts"] or ()]
    parts += [] if how["filtered"] else ["--no-filter"]
    lines = [
        *_opened(model, sides), f"settings = wb.SearchSettings.from_json({dict(how)!r})",
        "found = wb.find_direction(subject, pairs, settings=settings)", "found.plot()",
    ]  # fmt: skip
    return " \\\n  ".join(parts), "\n".join(lines)


def extracted_again(manifest: RunManifest) -> str:
    """An extraction, which has no command."""
    how = ", ".join(f"{name}={value!r}" for name, value in manifest.settings.items())
    lines = [
        "from workbench.search.extracting import record_extraction", *_opened(manifest.model["name"], _FILES),
        f"folder = record_extraction(subject, pairs, {how})", "direction = wb.Direction.load(folder.path)",
    ]  # fmt: skip
    return "\n".join(lines)


def carded_again(model: str, run: str | None) -> tuple[str, str]:
    """A card; `run` is the name of the direction's folder, none where it ships."""
    sides, folder = (("harmful", "harmless"), "RUN") if run is None else (_FILES, run)
    where = f"--direction {shlex.quote(folder)} --harmful {sides[0]} --harmless {sides[1]}"
    lines = [
        "from pathlib import Path", "", "from workbench.studies import record_card", *_opened(model, sides),
        f"direction = wb.Direction.load(Path({folder!r}))",
        'folder = record_card(subject, direction, {"these prompts": pairs})',
    ]  # fmt: skip
    return f"workbench card {shlex.quote(model)} {where}", "\n".join(lines)


def _opened(model: str, sides: tuple[str, str]) -> list[str]:
    one, other = sides
    return [
        "import workbench as wb", "", f"subject = wb.open_model({model!r})",
        f"pairs = wb.ContrastPairs(wb.load_prompts({one!r}), wb.load_prompts({other!r}))",
    ]  # fmt: skip
