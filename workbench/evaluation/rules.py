"""What decides the verdicts of rules: their code, whatever its layout and comments."""

import ast
import importlib
import inspect
from functools import cache

from workbench.runs import digest_json


@cache
def digest_of_code(*modules: str) -> str:
    """A digest of modules' code that changes with what it does, and not with comments, docstrings or layout."""
    return digest_json([_plain(inspect.getsource(importlib.import_module(module))) for module in modules])[:16]


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
