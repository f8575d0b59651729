"""The keys of the tree: how TOML and environment name each, its type, its default, its meaning."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from streamer.config import tree

PREFIX = "STREAMER_"


class Key(NamedTuple):
    """One value of the tree."""

    name: str
    """As in TOML: ``section.key``, or ``key`` at the top."""
    section: str
    """"" at the top."""
    field: str
    type: Any
    default: object
    meaning: str

    @property
    def environment(self) -> str:
        """The variable that sets it: ``STREAMER_SECTION__KEY``."""
        return PREFIX + self.name.replace(".", "__").upper()

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        return expected(self.type)


class SectionKeys(NamedTuple):
    """A section with its meaning and its keys, in the order of the tree."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


def sections() -> tuple[SectionKeys, ...]:
    """Every section, the top level (named "") first."""
    meanings = _meanings()
    infos = msgspec.structs.fields(tree.Config)
    top = tuple(_key("", info, meanings["Config"]) for info in infos if not _is_section(info.type))
    inner = [
        SectionKeys(
            info.name,
            inspect.getdoc(info.type) or "",
            tuple(_key(info.name, one, meanings[info.type.__name__]) for one in msgspec.structs.fields(info.type)),
        )
        for info in infos
        if _is_section(info.type)
    ]
    return (SectionKeys("", inspect.getdoc(tree.Config) or "", top), *inner)


def all_keys() -> dict[str, Key]:
    """Every key by its name."""
    return {key.name: key for section in sections() for key in section.keys}


def expected(kind: Any) -> str:
    """A type in words.

    >>> expected(int), expected(Literal["a", "b"]), expected(str | None)
    ('an integer', 'one of a, b', 'text, or nothing')
    """
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if isinstance(kind, types.UnionType):
        inner = [expected(one) for one in typing.get_args(kind) if one is not types.NoneType]
        return " or ".join(inner) + ", or nothing"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text"}.get(kind, str(kind))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tree.Section)


def _key(section: str, info: msgspec.structs.FieldInfo, meanings: dict[str, str]) -> Key:
    name = f"{section}.{info.name}" if section else info.name
    return Key(name, section, info.name, info.type, info.default, meanings.get(info.name, ""))


def _meanings() -> dict[str, dict[str, str]]:
    """The text under each field, by class and field: Python keeps none of it at run time."""
    module = ast.parse(inspect.getsource(tree))
    return {node.name: dict(_texts_under_fields(node)) for node in module.body if isinstance(node, ast.ClassDef)}


def _texts_under_fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for above, below in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield above.target.id, inspect.cleandoc(str(below.value.value))
