"""Checks on parsed JSON or YAML before anything looks at its meaning. Imports nothing of the project.

They hold for every way a document can come in, so that no text reaches a database that cannot store it and no
tree is deeper than our own recursion.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 24


class TreeError(ValueError):
    """The tree is unusable; the message names the place and quotes nothing that could be secret."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``object_pairs_hook`` that refuses a key given twice, where JSON would silently take the last."""
    tree = dict(pairs)
    if len(tree) != len(pairs):
        names = [name for name, _ in pairs]
        raise TreeError(f"the field '{next(name for name in names if names.count(name) > 1)}' is given twice")
    return tree


def check_tree(tree: Any, path: str = "", depth: int = 0) -> None:
    """Raise TreeError for what is too deep, a key that is not text, NUL bytes or lone surrogates."""
    if isinstance(tree, str):
        if "\x00" in tree:
            raise TreeError(f"{path or 'text'}: NUL characters cannot be stored")
        if not tree.isascii() and any("\ud800" <= character <= "\udfff" for character in tree):
            raise TreeError(f"{path or 'text'}: this text is not valid Unicode")
        return
    if isinstance(tree, (dict, list)) and depth >= MAX_DEPTH:
        raise TreeError("the document is nested too deeply")
    if isinstance(tree, dict):
        for name, inner in tree.items():
            if not isinstance(name, str):
                raise TreeError(f"{path or 'document'}: the field name {name!r} is not text (quote it)")
            check_tree(name, path, depth)
            check_tree(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(tree, list):
        for index, inner in enumerate(tree):
            check_tree(inner, f"{path}[{index}]", depth + 1)
