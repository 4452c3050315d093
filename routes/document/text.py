"""The document as text: YAML or JSON in, YAML or JSON out. Free of Django.

YAML is read with JSON's idea of scalars: only ``true`` and ``false`` are booleans (``kind: off`` is a word) and
dates stay text, so that both notations mean the same. Aliases are refused: a few lines of them expand to
gigabytes.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from routes.document.errors import DocumentError
from routes.document.tree import TreeError, check_tree, unique_keys

MAX_BYTES = 16 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise TreeError("YAML aliases are not supported")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    pairs = [
        (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
        for key, value in node.value
    ]
    for key, _value in pairs:
        if not isinstance(key, str):
            raise TreeError(f"line {node.start_mark.line + 1}: the field name {key!r} is not text (quote it)")
    return unique_keys(pairs)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _constant(name: str) -> Any:
    raise TreeError(f"{name} is not a number")


def load(data: bytes) -> Any:
    """The tree of a document. Raises DocumentError with one error that names the line."""
    if len(data) > MAX_BYTES:
        raise DocumentError([("", f"the document is larger than {MAX_BYTES // 1024 // 1024} MiB")])
    try:
        text = data.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            tree = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_constant)
        else:
            tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        check_tree(tree)
    except UnicodeDecodeError:
        raise DocumentError([("", "the document is not UTF-8")]) from None
    except RecursionError:
        raise DocumentError([("", "the document is nested too deeply")]) from None
    except TreeError as error:
        raise DocumentError([("", str(error))]) from None
    except json.JSONDecodeError as error:
        raise DocumentError([("", f"line {error.lineno}: not valid JSON: {error.msg}")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise DocumentError(
            [("", f"{place}not valid YAML: {getattr(error, 'problem', None) or 'malformed'}")]
        ) from None
    except ValueError:
        raise DocumentError([("", "a number in the document is too long")]) from None
    return tree


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """PyYAML folds control characters such as U+0085 away unless they are quoted doubly."""
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump_yaml(tree: Any) -> str:
    """Fields in the document's order, one a line."""
    text: str = yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    return text


def dump_json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"
