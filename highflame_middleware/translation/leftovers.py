"""What is left of an object once a reader has taken what it knows, and what a writer could not say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .fields import foreign, mapping
from .translator import UntranslatableError

__all__ = ["MAX_HELD", "Held", "Leftover", "Lost", "filled", "object_of", "objects_of", "strings", "total"]

T = TypeVar("T")
P = ParamSpec("P")

# How much of a stream a translator holds back until a part is whole, in characters.
MAX_HELD = 16 * 1024 * 1024


class Leftover:
    """An object that is taken apart: ``rest`` is what nobody has taken. What is no object has nothing.

    >>> left = Leftover({"top_k": 3, "temperature": "hot", "metadata": {}})
    >>> left.take("top_k", lambda value: value if isinstance(value, int) else None)
    3
    >>> left.rest
    {'temperature': 'hot', 'metadata': {}}
    """

    __slots__ = ("rest",)

    def __init__(self, value: Any) -> None:
        self.rest: dict[str, Any] = dict(mapping(value))

    def take(self, key: str, read: Callable[[Any], T | None]) -> T | None:
        """What stands under a key, if it is what it should be; else it stays among the rest."""
        if key not in self.rest:
            return None
        found = read(self.rest[key])
        if found is not None:
            del self.rest[key]
        return found

    def put_back(self, key: str, rest: Mapping[str, Any]) -> None:
        """Leave, under a key that was taken, what was left of its object; nothing where nothing was."""
        if rest:
            self.rest[key] = dict(rest)


class Lost:
    """The names of what a writer leaves out."""

    __slots__ = ("_format", "_names")

    def __init__(self, name: str) -> None:
        self._format = name
        self._names: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in order of the alphabet."""
        return tuple(sorted(self._names))

    def add(self, *names: str) -> None:
        """Note what is left out."""
        self._names.update(names)

    def add_foreign(self, extra: Mapping[str, Any], where: str = "") -> None:
        """Note the fields that only other formats have, and where they stood."""
        self._names.update(where + name for name in foreign(self._format, extra))

    def add_given(self, values: Mapping[str, Any]) -> None:
        """Note those parameters that were given."""
        self._names.update(name for name, value in values.items() if value is not None and value is not False)


class Held:
    """How much is held back of a stream; too much is refused."""

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def add(self, text: str) -> str:
        """Count a text that is held."""
        self._size += len(text)
        if self._size > MAX_HELD:
            raise UntranslatableError("a part of the stream is too long to be held until it is whole")
        return text


def total(function: Callable[P, T]) -> Callable[P, T]:
    """A reader or writer that refuses what is nested too deeply, where Python's own stack would give out."""

    @wraps(function)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RecursionError:
            raise UntranslatableError("it is nested too deeply") from None

    return refusing


def filled(value: Any) -> dict[str, Any] | None:
    """A JSON object in which there is something, or nothing."""
    return value if isinstance(value, dict) and value else None


def strings(value: Any) -> tuple[str, ...] | None:
    """The strings of a JSON array of some and nothing else, or nothing."""
    known = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    return tuple(value) if known else None


def object_of(value: Any, what: str) -> dict[str, Any]:
    """A JSON object; anything else is refused."""
    if not isinstance(value, dict):
        raise UntranslatableError(f"{what} is no object")
    return value


def objects_of(value: Any, what: str) -> Iterable[dict[str, Any]]:
    """The objects of a JSON array; anything else is refused."""
    if not isinstance(value, list | tuple):
        raise UntranslatableError(f"{what} are no list")
    return [object_of(item, f"one of {what}") for item in value]
