"""What codecs read and write: texts with their places in a JSON body, and what telemetry wants to know.

A codec is data and pure functions over the provider's own JSON. It says *where*
the texts are; whoever edits one puts the new value back at the same place with
`rewrite`, so every field that this library has never heard of stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from re import Pattern
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..types import Stage

__all__ = [
    "CallRead",
    "Channel",
    "Codec",
    "EventRead",
    "Params",
    "Path",
    "PathRead",
    "Reader",
    "ReplyRead",
    "Summary",
    "Text",
    "dump_json",
    "edits_of",
    "leaves",
    "read_nothing",
    "rewrite",
]

Path: TypeAlias = tuple[str | int, ...]
Channel: TypeAlias = tuple[str | int, ...]


class Text(NamedTuple):
    """One text in a body.

    In a stream, ``channel`` names the longer text that this is a piece of;
    ``None`` means it is complete in itself. ``is_json`` marks tool arguments,
    which must still be JSON after an edit; ``structured`` those that stand in the body
    as JSON themselves, ``value`` being how they are written. ``shadows`` are places that
    repeat the text in another form (log probabilities): they are set to null when it is edited.
    """

    path: Path
    value: str
    stage: Stage
    role: str = "user"
    tool: str | None = None
    channel: Channel | None = None
    is_json: bool = False
    shadows: tuple[Path, ...] = ()
    structured: bool = False


@dataclass(frozen=True, slots=True)
class Params:
    """The request parameters that telemetry reports; absent is ``None``."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    choice_count: int | None = None
    stop_sequences: tuple[str, ...] = ()
    output_type: str | None = None
    encoding_formats: tuple[str, ...] = ()
    dimensions: int | None = None
    conversation_id: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class CallRead:
    """What the wire body of a call says."""

    model: str | None
    stream: bool
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a reply says of itself; in a stream later fields win over earlier ones."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_written_tokens: int | None = None
    reasoning_tokens: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None

    def updated(self, later: Summary) -> Summary:
        """This summary with whatever a later one adds."""
        return Summary(
            id=later.id or self.id,
            model=later.model or self.model,
            finish_reasons=self.finish_reasons + later.finish_reasons,
            input_tokens=later.input_tokens if later.input_tokens is not None else self.input_tokens,
            output_tokens=later.output_tokens if later.output_tokens is not None else self.output_tokens,
            cached_tokens=later.cached_tokens if later.cached_tokens is not None else self.cached_tokens,
            cache_written_tokens=later.cache_written_tokens
            if later.cache_written_tokens is not None
            else self.cache_written_tokens,
            reasoning_tokens=later.reasoning_tokens
            if later.reasoning_tokens is not None
            else self.reasoning_tokens,
            service_tier=later.service_tier or self.service_tier,
            system_fingerprint=later.system_fingerprint or self.system_fingerprint,
        )


@dataclass(frozen=True, slots=True)
class ReplyRead:
    """What the wire body of a reply says."""

    texts: tuple[Text, ...]
    summary: Summary


@dataclass(frozen=True, slots=True)
class EventRead:
    """What one stream event says. ``closes`` are prefixes of the channels that it ends."""

    texts: tuple[Text, ...] = ()
    closes: tuple[Channel, ...] = ()
    summary: Summary | None = None
    terminal: bool = False


class Reader(Protocol):
    """Reads the events of one stream in order; holds only what later events refer back to."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: its decoded ``data`` and its ``event`` name."""
        ...


class PathRead(NamedTuple):
    """What the path of a call says, for formats whose bodies leave it to the path."""

    model: str | None = None
    stream: bool = False


def read_nothing(path: str) -> PathRead:  # noqa: ARG001 - most formats
    """Nothing: the body says it all."""
    return PathRead()


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One API format, as pure functions over its JSON.

    ``provider`` is whose format it is, ``operation`` the OpenTelemetry name of
    what it does, if there is one (``name_operation`` tells it by method and path
    where a format has several), ``api_type`` what OpenAI's conventions call the API. ``refuse``
    builds a reply in this format that says no; ``fail`` the event, its name and
    its data, that ends a stream with an error. ``read_path`` reads a call's path, as encoded.
    Replies of other types than JSON and events: those that begin as ``media`` says hold no text,
    and pass; those of a type in ``plain`` are one text, which ``read_reply`` is given as a string.
    ``telling`` finds the events of a stream that say something of the reply and not only go on
    with its texts: where nobody judges those, the first event and these are all that is read.
    """

    name: str
    provider: str
    operation: str | None
    api_type: str | None = None
    read_call: Callable[[Any], CallRead]
    read_params: Callable[[Any], Params]
    read_reply: Callable[[Any], ReplyRead]
    open_stream: Callable[[], Reader]
    refuse: Callable[[str], dict[str, Any]]
    fail: Callable[[str, str], tuple[str | None, Any]]
    read_path: Callable[[str], PathRead] = read_nothing
    name_operation: Callable[[str, str], str | None] | None = None
    media: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    telling: Pattern[bytes] | None = None

    def operation_of(self, method: str, path: str) -> str | None:
        """The OpenTelemetry name of what one call does."""
        return self.name_operation(method, path) if self.name_operation is not None else self.operation


def leaves(value: Any, path: Path, opaque: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """Every string below ``value`` and its place, except under the keys of ``opaque``.

    Iterative, so that a deeply nested body costs memory in proportion to its size and no stack.

    >>> list(leaves({"a": ["x", {"id": "1", "b": "y"}]}, (), frozenset({"id"})))
    [(('a', 0), 'x'), (('a', 1, 'b'), 'y')]
    """
    stack: list[tuple[Path, Any]] = [(path, value)]
    while stack:
        place, node = stack.pop()
        if isinstance(node, str):
            yield place, node
        elif isinstance(node, dict):
            below = [((*place, key), child) for key, child in node.items() if key not in opaque]
            stack.extend(reversed(below))
        elif isinstance(node, list | tuple):
            stack.extend(((*place, index), node[index]) for index in range(len(node) - 1, -1, -1))


def rewrite(body: Any, changes: Mapping[Path, Any]) -> Any:
    """``body`` with the values at some places replaced; what lies beside them is shared, not copied.

    >>> before = {"messages": [{"content": "a"}, {"content": "b"}]}
    >>> rewrite(before, {("messages", 1, "content"): "c"})
    {'messages': [{'content': 'a'}, {'content': 'c'}]}
    >>> before["messages"][1]
    {'content': 'b'}
    """
    root: list[Any] = [body]
    copied = {id(root)}
    for path, value in changes.items():
        node: Any = root
        last: str | int = 0
        for key in path:
            below = node[last]
            if id(below) not in copied:
                below = dict(below) if isinstance(below, dict) else list(below)
                copied.add(id(below))
                node[last] = below
            node, last = below, key
        node[last] = value
    return root[0]


def edits_of(texts: Iterable[tuple[Text, str]]) -> dict[Path, Any]:
    """The changes that put new values of texts in place, and null their shadows."""
    changes: dict[Path, Any] = {}
    for text, value in texts:
        changes[text.path] = json.loads(value) if text.structured else value
        changes.update((shadow, None) for shadow in text.shadows)
    return changes


def dump_json(data: Any) -> bytes:
    """JSON as the providers write it: compact, UTF-8; escaped only where a lone surrogate cannot be UTF-8."""
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":")).encode()
