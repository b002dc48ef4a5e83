"""What decides the verdicts of rules: their code, whatever its layout and comments."""

import ast
import importlib
import inspect
from functools import cache
from importlib.metadata import version

from workbench.runs import digest_json


@cache
def digest_of_code(*modules: str) -> str:
    """A digest of modules' code that changes with what it does, and not with comments, docstrings or layout."""
    return digest_json([_plain(inspect.getsource(importlib.import_module(module))) for module in modules])[:16]


def identity_of_rules(*modules: str) -> dict[str, str]:
    """What decides the verdicts of a judge that calls by rule: what is broken, and the modules that it names."""
    gate = ("workbench.evaluation.outcomes", "workbench.evaluation.languages")
    return {"rules": digest_of_code(*gate, *modules), "py3langid": version("py3langid")}


def _plain(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0] = ast.Pass()
    return ast.dump(tree)
