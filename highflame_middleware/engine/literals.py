"""Which of many literals stand in a text: in one pass, by google-re2 where it is installed (the extra ``fast``).

Where it is not, nothing is told, and every reader looks for its literals in its own way: with the same result.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

__all__ = ["Literals"]


class Literals:
    """A set of literals to look for.

    >>> found = Literals(("ignore", "override")).within("please ignore it")
    >>> found is None or list(found) == [0]
    True
    """

    __slots__ = ("_set",)

    def __init__(self, literals: Iterable[str]) -> None:
        self._set = _compiled(tuple(literals))

    def within(self, text: str) -> Sequence[int] | None:
        """The places in the list of those that stand in ``text``, in no order; None where that is not known."""
        if self._set is None:
            return None
        # As bytes: a text may have halves of surrogate pairs in it.
        found: Sequence[int] | None = self._set.Match(text.encode("utf-8", "surrogatepass"))
        return found or ()


def _compiled(literals: tuple[str, ...]) -> Any:
    """The set, if there is a re2 that finds every one of its literals; else None."""
    re2 = _re2()
    if re2 is None or not literals:
        return None
    try:
        options = re2.Options()
        options.encoding, options.log_errors = re2.Options.Encoding.LATIN1, False
        made = re2.Set.SearchSet(options)
        for literal in literals:
            made.Add(re2.escape(literal).encode("utf-8"))
        made.Compile()
        # A set that is too large for its memory finds nothing, and does not say so.
        found = made.Match("\n".join(literals).encode("utf-8"))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, everything is found without it
        return None
    return made if found is not None and len(set(found)) == len(literals) else None


@functools.cache
def _re2() -> Any:
    try:
        re2 = import_module("re2")
    except ImportError:
        return None
    return re2 if hasattr(re2, "Set") else None  # another package has the same name
