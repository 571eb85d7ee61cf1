"""What the Anthropic formats share: content blocks, tool calls, usage, errors, and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..types import Stage
from .calls import read_arguments
from .openai import integer, mapping, read_definitions, string
from .parts import Channel, EventRead, Path, Summary, Text

__all__ = ["Reader", "fail", "read_blocks", "read_summary"]

# Keys whose strings are ids, enumerations, dates, numbers in words or encoded blobs, never prose.
OPAQUE = frozenset(
    {
        "archived_at",
        "cache_control",
        "caller",
        "cancel_initiated_at",
        "category",
        "container",
        "context_management",
        "created_at",
        "custom_id",
        "diagnostics",
        "encrypted_content",
        "encrypted_index",
        "encrypted_stdout",
        "ended_at",
        "error_code",
        "expires_at",
        "file_id",
        "file_type",
        "first_id",
        "id",
        "input_transformations",
        "last_id",
        "mcp_server_name",
        "media_type",
        "model",
        "name",
        "processing_status",
        "request_id",
        "results_url",
        "retrieved_at",
        "role",
        "server_name",
        "signature",
        "stop_reason",
        "stop_sequence",
        "tool_id",
        "tool_name",
        "tool_use_id",
        "type",
        "usage",
    }
)
_ENDINGS = frozenset({"message_stop", "error"})
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Node(NamedTuple):
    """A value that is still to be read, and what texts in it are."""

    path: Path
    value: Any
    stage: Stage
    role: str
    tool: str | None = None


def read_blocks(
    value: Any, path: Path, stage: Stage, role: str, tools: dict[str, str] | None = None
) -> Iterator[Text]:
    """Every text below a value: a string, blocks, a message, or a shape this library has never seen.

    A call's input is one text, as JSON; what stands in a result is the tool's, whichever kind of tool.
    ``tools`` collects the names of tools by the ids of their calls, for results that stand elsewhere.
    Iterative, so that deep nesting costs no stack.
    """
    names = {} if tools is None else tools
    stack = [_Node(path, value, stage, role)]
    while stack:
        node = stack.pop()
        value = node.value
        if isinstance(value, str):
            if value:
                yield Text(node.path, value, node.stage, node.role, node.tool)
        elif isinstance(value, list | tuple):
            places = range(len(value) - 1, -1, -1)
            stack.extend(node._replace(path=(*node.path, index), value=value[index]) for index in places)
        elif isinstance(value, dict):
            kind = string(value.get("type")) or ""
            if kind.endswith("tool_use"):
                yield from read_arguments(value, "input", node.path)
                _remember(value, names)
            elif kind.endswith("tool_result"):
                tool = names.get(string(value.get("tool_use_id")) or "")
                node = node._replace(stage=Stage.TOOL_RESULT, role="tool", tool=tool)
            yield from read_definitions(value.get("input_schema"), (*node.path, "input_schema"))
            below = [
                node._replace(path=(*node.path, key), value=child)
                for key, child in value.items()
                if not _is_opaque(key, kind, value)
            ]
            stack.extend(reversed(below))


def _is_opaque(key: str, kind: str, block: Mapping[str, Any]) -> bool:
    """Whether what stands under a key of a block is no text, or has been read already."""
    if key in OPAQUE or key == "input_schema":
        return True
    if key == "input":
        return kind.endswith("tool_use")
    if key == "url":
        # What a document or image is fetched from; the address of a search result is a text.
        return kind == "url"
    if key != "data":
        return False
    # A document's text stands under the same key as another's bytes.
    media = string(block.get("media_type")) or ""
    return kind in ("base64", "redacted_thinking") or (bool(media) and kind != "text" and media[:5] != "text/")


def _remember(block: Mapping[str, Any], names: dict[str, str]) -> None:
    identity, name = string(block.get("id")), string(block.get("name"))
    if identity is not None and name is not None:
        names[identity] = name


class Reader:
    """Reads the events of a stream; keeps what each block is while it is written, and the usage so far."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Node] = {}
        self._tools: dict[str, str] = {}
        self._usage: dict[str, Any] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: the beginning of a block, more of it, its end, or what is said of the message."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        number = integer(said.get("index")) or 0
        if kind == "content_block_start":
            return EventRead(tuple(self._begin(said.get("content_block"), number)))
        if kind == "content_block_delta":
            return EventRead(tuple(self._grow(said.get("delta"), number)))
        if kind == "content_block_stop":
            self._blocks.pop(number, None)
            return EventRead(closes=((number,),))
        texts = read_blocks(data, (), Stage.RESPONSE, "assistant")
        # Once it is said why the message stops, some readers go no further.
        stops = kind in _ENDINGS or string(mapping(said.get("delta")).get("stop_reason")) is not None
        return EventRead(tuple(texts), summary=self._summary(said, kind), terminal=stops)

    def _begin(self, block: Any, number: int) -> Iterator[Text]:
        """What a block begins with: mostly nothing yet, but for the results of tools, which come whole."""
        kind, given = string(mapping(block).get("type")) or "", mapping(block).get("input")
        called, path = kind.endswith("tool_use"), ("content_block",)
        stage, role, tool = Stage.RESPONSE, "assistant", string(mapping(block).get("name"))
        if kind.endswith("tool_result"):
            stage, role = Stage.TOOL_RESULT, "tool"
            tool = self._tools.get(string(mapping(block).get("tool_use_id")) or "")
        self._blocks[number] = _Node(("delta",), None, stage, role, tool)
        for text in read_blocks(block, path, Stage.RESPONSE, "assistant", self._tools):
            if text.structured and called and not given:
                # Its pieces are to come; where none do, the tool is called with nothing.
                yield text._replace(value="", channel=(number, "input"))
            elif len(text.path) == 2 and not text.structured:
                yield text._replace(channel=(number, *text.path[1:]))
            else:
                yield text

    def _grow(self, delta: Any, number: int) -> Iterator[Text]:
        block = self._blocks.get(number) or _Node(("delta",), None, Stage.RESPONSE, "assistant")
        for text in read_blocks(delta, block.path, block.stage, block.role):
            channel: Channel = (number, *text.path[1:])
            if text.path[1:] == ("partial_json",):
                yield text._replace(
                    stage=Stage.TOOL_CALL,
                    role="assistant",
                    tool=block.tool,
                    channel=(number, "input"),
                    is_json=True,
                )
            elif text.path[1:2] == ("citation",):
                yield text
            else:
                yield text._replace(tool=block.tool if block.stage is Stage.TOOL_RESULT else None, channel=channel)

    def _summary(self, said: Mapping[str, Any], kind: str) -> Summary | None:
        """What the message says of itself, with the counts of earlier events where this one leaves them out."""
        if kind == "message_start":
            message = mapping(said.get("message"))
            self._usage = {**mapping(message.get("usage"))}
            return read_summary({**message, "stop_reason": None})
        if kind != "message_delta":
            return None
        counted = mapping(said.get("usage")).items()
        self._usage.update((name, count) for name, count in counted if count is not None)
        return read_summary({**mapping(said.get("delta")), "usage": self._usage})


def read_summary(message: Mapping[str, Any]) -> Summary:
    """What a message says of itself. Its input tokens are those that were neither read from a cache nor written."""
    usage = mapping(message.get("usage"))
    spent, output, cached, written = (integer(usage.get(name)) for name in _COUNTS)
    reason = string(message.get("stop_reason"))
    return Summary(
        id=string(message.get("id")),
        model=string(message.get("model")),
        finish_reasons=(reason,) if reason is not None else (),
        input_tokens=spent + (cached or 0) + (written or 0) if spent is not None else None,
        output_tokens=output,
        cached_tokens=cached,
        cache_written_tokens=written,
        reasoning_tokens=integer(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:
    """The stream event that the clients raise as an error."""
    return "error", {"type": "error", "error": {"type": code, "message": message}}
