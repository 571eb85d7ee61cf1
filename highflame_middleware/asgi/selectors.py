"""Where the texts of a JSON body stand that is in no API's format: selectors, a small part of JSONPath.

``prompt``, ``messages[*].content``, ``$.a.b[0].c``, ``$['odd name']``, ``$..text`` (at any depth, once per
selector) and ``$`` alone. A selector that finds a string means that string; one that finds an object or an array
means every string below it, but for ids and types. Compiled once; what looking through a body costs is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..codecs.openai import IDENTITIES
from ..codecs.parts import CallRead, Path, Text, leaves
from ..errors import ConfigError, UnreadableError
from ..types import Stage

__all__ = ["FIELDS", "Selection"]

# What applications call the text that they hand on to a model.
FIELDS = (
    "chat_input",
    "content",
    "contents",
    "context",
    "input",
    "inputs",
    "instruction",
    "instructions",
    "message",
    "messages",
    "prompt",
    "prompts",
    "query",
    "question",
    "questions",
    "system",
    "system_prompt",
    "text",
    "texts",
    "user_input",
    "user_message",
    "user_prompt",
)

# Places that are looked at in one body, beyond which it cannot be guarded.
MAX_VISITED = 500_000

_STEP = re.compile(
    r"""(?P<descend>\.\.)?(?:
        \.?(?P<name>[A-Za-z_][A-Za-z0-9_-]*)
      | \.?(?P<star>\*)
      | \[(?:(?P<index>\d{1,9})|(?P<every>\*)|'(?P<single>[^'\\]*)'|"(?P<double>[^"\\]*)")\]
    )""",
    re.VERBOSE,
)

# A key, an index, or None for every one of them.
_Key: TypeAlias = "str | int | None"


@dataclass(frozen=True, slots=True)
class _Step:
    key: _Key
    descends: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Selectors, compiled; or field names, looked for at any depth.

    >>> chosen = Selection.of("select", ["prompt", "messages[*].content"])
    >>> body = {"prompt": "a", "messages": [{"role": "user", "content": "b"}], "note": "c"}
    >>> [(text.path, text.value) for text in chosen.read(body)]
    [(('prompt',), 'a'), (('messages', 0, 'content'), 'b')]
    >>> [text.value for text in Selection.named("fields", ["text"]).read({"x": [{"text": ["d", {"id": "e"}]}]})]
    ['d']
    """

    paths: tuple[tuple[_Step, ...], ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, given: Iterable[str]) -> Selection:
        """Selectors from an option."""
        if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
            raise ConfigError(f"{name}={given!r} must be a list of selectors, such as ['messages[*].content']")
        return cls(paths=tuple(_compile(name, selector) for selector in given))

    @classmethod
    def named(cls, name: str, given: Iterable[str]) -> Selection:
        """Names of fields from an option."""
        if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
            raise ConfigError(f"{name}={given!r} must be a list of names, such as ['prompt']")
        given = list(given)
        if not all(isinstance(item, str) and item for item in given):
            raise ConfigError(f"{name}={given!r} must hold nothing but names of fields")
        return cls(names=frozenset(_bare(item) for item in given))

    def __bool__(self) -> bool:
        return bool(self.paths or self.names)

    def covers(self, field: str) -> bool:
        """Whether a form's field is meant: by its name, or a part of it (``form[prompt]``, ``a.prompt``)."""
        if self.names:
            return any(_bare(word) in self.names for word in _WORDS.findall(field))
        return any(len(path) == 1 and path[0].key in (field, None) for path in self.paths)

    def read(self, body: Any) -> tuple[Text, ...]:
        """The texts of a body that are meant, in the order in which they were found; each once."""
        found: dict[Path, str] = {}
        budget = _Budget()
        if self.names:
            # A body that is nothing but a text is one; below a name that is meant everything is.
            for place, value in [((), body)] if isinstance(body, str) else self._named(body, budget):
                found.update(_texts_below(value, place, budget))
        for steps in self.paths:
            for place, value in _walk(steps, body, budget):
                found.update(_texts_below(value, place, budget))
        return tuple(Text(place, value, Stage.PROMPT) for place, value in found.items() if value)

    def call(self, body: Any) -> CallRead:
        """The same as a codec says it."""
        return CallRead(None, stream=False, texts=self.read(body))

    def _named(self, body: Any, budget: _Budget) -> Iterator[tuple[Path, Any]]:
        stack: list[tuple[Path, Any]] = [((), body)]
        while stack:
            place, node = stack.pop()
            for key, child in _below(node, budget):
                if isinstance(key, str) and _bare(key) in self.names:
                    yield (*place, key), child
                elif isinstance(child, dict | list):
                    stack.append(((*place, key), child))


_WORDS = re.compile(r"[^\[\].]+")


def _bare(name: str) -> str:
    """A field's name however it is spelled: ``user_prompt``, ``userPrompt``, ``User-Prompt``."""
    return name.lower().replace("_", "").replace("-", "")


class _Budget:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_VISITED

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UnreadableError(f"The body has more than the {MAX_VISITED} values that are looked at to guard it")


def _compile(name: str, selector: Any) -> tuple[_Step, ...]:
    if not isinstance(selector, str) or not selector.strip():
        raise ConfigError(f"{name}: {selector!r} is no selector: give 'prompt', 'messages[*].content' or '$..text'")
    rest = selector.strip()
    at = 1 if rest.startswith("$") else 0
    steps: list[_Step] = []
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None or found.end() == at:
            raise ConfigError(f"{name}: {selector!r} cannot be read from {rest[at:]!r} on")
        if at == 1 and rest.startswith("$") and rest[1] not in ".[":
            raise ConfigError(f"{name}: {selector!r} needs a '.' after its '$'")
        steps.append(_Step(_key_of(found), descends=found["descend"] is not None))
        at = found.end()
    if sum(step.descends for step in steps) > 1:
        raise ConfigError(f"{name}: {selector!r} has more than one '..': what it would cost has no bound")
    return tuple(steps)


def _key_of(found: re.Match[str]) -> _Key:
    if found["star"] is not None or found["every"] is not None:
        return None
    if found["index"] is not None:
        return int(found["index"])
    return next(found[group] for group in ("name", "single", "double") if found[group] is not None)


def _walk(steps: tuple[_Step, ...], body: Any, budget: _Budget) -> Iterator[tuple[Path, Any]]:
    nodes: list[tuple[Path, Any]] = [((), body)]
    for step in steps:
        below: list[tuple[Path, Any]] = []
        for place, node in _descended(nodes, budget) if step.descends else nodes:
            below.extend(((*place, key), child) for key, child in _chosen(node, step.key, budget))
        nodes = below
    yield from nodes


def _descended(nodes: list[tuple[Path, Any]], budget: _Budget) -> Iterator[tuple[Path, Any]]:
    """The nodes, and everything that has something below it."""
    stack = list(nodes)
    while stack:
        place, node = stack.pop()
        yield place, node
        below = _below(node, budget)
        stack.extend(((*place, key), child) for key, child in below if isinstance(child, dict | list))


def _chosen(node: Any, key: _Key, budget: _Budget) -> Iterator[tuple[str | int, Any]]:
    if key is None:
        yield from _below(node, budget)
    elif isinstance(key, int):
        if isinstance(node, list) and key < len(node):
            yield key, node[key]
    elif isinstance(node, dict) and key in node:
        yield key, node[key]


def _below(node: Any, budget: _Budget) -> Iterable[tuple[str | int, Any]]:
    if not isinstance(node, dict | list):
        return ()
    budget.spend(len(node))
    return node.items() if isinstance(node, dict) else enumerate(node)


def _texts_below(value: Any, place: Path, budget: _Budget) -> Iterator[tuple[Path, str]]:
    for found in leaves(value, place, IDENTITIES):
        budget.spend(1)
        yield found
