"""Replacing attributes so that everything can be put back exactly as it was, whoever else patches too.

Plain functions with identity checks rather than proxies: a proxy forwards
attributes, so nobody can tell whose wrapper is on top. What another
instrumentor has wrapped over ours stays; our function below it goes inert.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

__all__ = ["Patches"]

Wrap = Callable[[Any], Callable[..., Any]]


class Patches:
    """The replacements made for one instrumentation, undone in reverse order."""

    def __init__(self) -> None:
        self._made: list[tuple[type | ModuleType, str, Any, bool, Callable[..., Any]]] = []
        self._roots: list[tuple[type, str]] = []

    def replace(self, owner: type | ModuleType, name: str, wrap: Wrap) -> None:
        """Put ``wrap(original)`` in the place of a method; the original is handed over as its descriptor.

        A module's function is replaced in the same way.
        """
        original = inspect.getattr_static(owner, name)
        owned = name in vars(owner)
        ours = wrap(original)
        functools.update_wrapper(ours, original)
        setattr(owner, name, ours)
        self._made.append((owner, name, original, owned, ours))

    def replace_in_tree(self, root: type, name: str, package: str, wrap: Wrap) -> None:
        """Replace a method on a class and on the subclasses of its own package that define it again.

        A peer that patched an inherited method left its wrapper on such a
        subclass, where it hides anything done to the root.
        """
        self.replace(root, name, wrap)
        self._roots.append((root, name))
        for owner in _subclasses(root):
            if name in vars(owner) and owner.__module__.partition(".")[0] == package:
                self.replace(owner, name, wrap)

    def undo(self) -> None:
        """Put back everything that is still ours to put back."""
        ours = {id(made[4]): made for made in self._made}
        for owner, name, original, owned, replacement in reversed(self._made):
            if vars(owner).get(name) is replacement:
                if owned:
                    setattr(owner, name, original)
                else:
                    delattr(owner, name)
        # A peer that unwraps itself from an inherited method leaves what it had wrapped, ours, on the subclass.
        for root, name in self._roots:
            for owner in _subclasses(root):
                if id(vars(owner).get(name)) in ours:
                    delattr(owner, name)
        self._made.clear()
        self._roots.clear()


def _subclasses(root: type) -> Iterator[type]:
    todo: list[type] = root.__subclasses__()
    while todo:
        owner = todo.pop()
        yield owner
        todo.extend(owner.__subclasses__())
