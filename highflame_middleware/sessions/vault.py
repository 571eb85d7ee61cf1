"""Values that are taken out of what a model reads, and put back into what it answers.

Kept in the memory of this process and nowhere else: never in Redis, a file, a log
or a span. A pseudonym is worth something only within the session it was made in.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from time import monotonic

from ..errors import ConfigError
from .memory import checked
from .pseudonyms import pseudonym

__all__ = ["Drawer", "Vault"]

_LONGEST = 512  # characters of a value: a longer one is redacted


class Vault:
    """Reversible redaction: the model reads ``[EMAIL_kqzrtbnmwdfg]``, the caller reads the address.

    Parameters
    ----------
    types
        What is put away: types such as ``"email"``, or the groups ``"pii"`` and ``"secrets"``.
    restore_tools
        Patterns, as of a shell, of the tools whose arguments get the values back. The others are
        called with the pseudonyms: a tool may carry them to anybody, on a model's word.
    max_values
        Of one session; the one that was used longest ago makes room.
    max_sessions, ttl
        How many sessions, and seconds that one is kept after it was last used.

    >>> vault = Vault(types=["email"])
    >>> drawer = vault.drawer("s1")
    >>> word = drawer.put("email", "ada@example.org")
    >>> drawer.get(word), vault.drawer("s2").get(word)
    ('ada@example.org', None)
    """

    def __init__(
        self,
        *,
        types: Iterable[str] = ("pii",),
        restore_tools: Iterable[str] = (),
        max_values: int = 1_000,
        max_sessions: int = 1_000,
        ttl: float = 3_600.0,
    ) -> None:
        for option, given in (("types", types), ("restore_tools", restore_tools)):
            if isinstance(given, str | bytes):
                raise ConfigError(f"{option} is one string: give a tuple of strings, such as {option}=('…',)")
        self.types = tuple(types)
        self._tools = tuple(restore_tools)
        self._most_values = int(checked("max_values", max_values, least=1))
        self._most = int(checked("max_sessions", max_sessions, least=1))
        self._ttl = checked("ttl", ttl, least=0.001)
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        self._drawers: OrderedDict[str, tuple[float, Drawer]] = OrderedDict()

    def drawer(self, scope: str) -> Drawer:
        """The values of a scope: a session, or a call without one."""
        now = monotonic()
        with self._lock:
            kept = self._drawers.get(scope)
            drawer = kept[1] if kept is not None and now <= kept[0] + self._ttl else None
            if drawer is None:
                drawer = Drawer(self._key, scope, self._most_values, self._lock)
            self._drawers[scope] = (now, drawer)
            self._drawers.move_to_end(scope)
            while self._drawers:
                _, (used, _) = next(iter(self._drawers.items()))
                if len(self._drawers) <= self._most and now <= used + self._ttl:
                    break
                self._drawers.popitem(last=False)
        return drawer

    def restores(self, tool: str | None) -> bool:
        """Whether a tool's arguments get the values back."""
        return tool is not None and any(fnmatchcase(tool, pattern) for pattern in self._tools)

    def forget(self, session_id: str) -> None:
        """Drop the values of a session."""
        with self._lock:
            self._drawers.pop(f"session:{session_id}", None)

    def __repr__(self) -> str:
        return f"Vault(types={self.types!r}, {len(self._drawers)} sessions)"

    def __reduce__(self) -> str:
        raise TypeError("a Vault cannot be pickled or copied out of its process")


class Drawer:
    """The values of one scope, by the words that stand for them."""

    __slots__ = ("_key", "_lock", "_most", "_scope", "_values", "_words")

    def __init__(self, key: bytes, scope: str, most: int, lock: threading.Lock) -> None:
        self._key, self._scope, self._most, self._lock = key, scope, most, lock
        self._values: OrderedDict[str, str] = OrderedDict()  # by word
        self._words: dict[str, str] = {}  # by value

    def put(self, type_: str, value: str) -> str | None:
        """Put a value away; give the word for it, or nothing where the value is too long to be kept.

        A value keeps the word it was first given, whatever type it is later taken for.
        """
        if len(value) > _LONGEST:
            return None
        with self._lock:
            word = self._words.get(value)
            if word is None:
                word = self._words[value] = pseudonym(self._key, self._scope, type_, value)
                self._values[word] = value
                if len(self._values) > self._most:
                    self._words.pop(self._values.popitem(last=False)[1], None)
            else:
                self._values.move_to_end(word)
            return word

    def get(self, word: str) -> str | None:
        """The value that a word of this scope stands for."""
        with self._lock:
            return self._values.get(word)

    def holds(self, value: str) -> bool:
        """Whether a value has been put away here: whoever reads it knows it already."""
        return value in self._words

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Drawer({len(self._values)} values)"
