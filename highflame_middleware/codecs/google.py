"""What Google's formats share: parts and what stands in them, two spellings of every key, tools called with JSON.

The API takes ``functionCall`` and ``function_call`` alike, at every depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..types import Stage
from .openai import mapping, read_definitions, string
from .parts import Path, PathRead, Text, dump_json, leaves

__all__ = ["both", "error_body", "fail", "pick", "read_path", "walk"]


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name)


def both(*names: str) -> frozenset[str]:
    """Keys in both of their spellings.

    >>> sorted(both("functionCall", "id"))
    ['functionCall', 'function_call', 'id']
    """
    return frozenset(names) | {_snake(name) for name in names}


def pick(value: Any, name: str) -> Any:
    """A field of a JSON object, however it is spelt; nothing where it is not there.

    >>> pick({"generation_config": 1}, "generationConfig")
    1
    """
    found = mapping(value)
    given = found.get(name)
    return given if given is not None else found.get(_snake(name))


# Keys whose strings are ids, enumerations, addresses of files, settings or encoded blobs, never prose.
_OPAQUE = both(
    "@type",
    "blockReason",
    "bytesBase64Encoded",
    "cachedContent",
    "category",
    "continuationToken",
    "createTime",
    "data",
    "displayName",
    "done",
    "encodedPolyline",
    "encoding",
    "expireTime",
    "fileSearchStore",
    "fileUri",
    "finishReason",
    "gcsUri",
    "id",
    "imageBytes",
    "jsonPath",
    "labels",
    "language",
    "logprobsResult",
    "mimeType",
    "modality",
    "model",
    "modelArmorConfig",
    "modelVersion",
    "name",
    "outcome",
    "placeId",
    "probability",
    "responseId",
    "role",
    "safetyRatings",
    "safetySettings",
    "serviceTier",
    "severity",
    "state",
    "taskType",
    "thoughtSignature",
    "threshold",
    "toolConfig",
    "toolType",
    "trafficType",
    "ttl",
    "updateTime",
    "urlRetrievalStatus",
    "usageMetadata",
    "videoBytes",
)
_CALLS = both("functionCall", "toolCall")
_RESULTS = both("functionResponse", "toolResponse")
_CODE, _OUTPUT = both("executableCode"), both("codeExecutionResult")
_SYSTEM = both("systemInstruction")
# Of these the model reads the descriptions; the rest are names, types and numbers.
_DEFINED = both("tools", "generationConfig")
_ROLES: Mapping[str, str] = {"model": "assistant"}
_MODEL = re.compile(r"/(?P<kind>models|tunedModels|endpoints)/(?P<name>(?:(?!%3A)[^/:?])+)", re.IGNORECASE)
_STREAMED = re.compile(r"(?::|%3A)(?:streamGenerateContent|streamRawPredict)$", re.IGNORECASE)


class _Said(NamedTuple):
    """Where in a conversation something stands."""

    stage: Stage
    role: str
    tool: str | None = None

    def by(self, node: Mapping[str, Any]) -> _Said:
        """The same for what is inside a message, which names its speaker."""
        role = string(node.get("role"))
        if role is None or self.role == "system" or self.stage not in (Stage.PROMPT, Stage.RESPONSE):
            return self
        return self._replace(role=_ROLES.get(role, role))


def walk(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text below a value: what is said, what tools are called with and what they gave.

    Shapes that are not known are read whole. No recursion, so that no nesting is too deep.
    """
    stack: list[tuple[Path, Any, _Said]] = [(path, value, _Said(stage, role))]
    while stack:
        place, node, said = stack.pop()
        if isinstance(node, str):
            if node:
                yield Text(place, node, said.stage, said.role, said.tool)
        elif isinstance(node, dict):
            below: list[tuple[Path, Any, _Said]] = []
            said = said.by(node)
            for key, child in node.items():
                if key not in _OPAQUE:
                    yield from _entered(key, child, (*place, key), said, below)
            stack.extend(reversed(below))
        elif isinstance(node, list | tuple):
            stack.extend(((*place, index), node[index], said) for index in range(len(node) - 1, -1, -1))


def _entered(
    key: str, child: Any, place: Path, said: _Said, below: list[tuple[Path, Any, _Said]]
) -> Iterator[Text]:
    """The texts that a key itself says the kind of; what else there is goes to ``below``, to be walked."""
    if key in _DEFINED:
        yield from read_definitions(child, place)
    elif key in _CALLS and isinstance(child, dict):
        yield from _called(child, place, below)
    elif key in _RESULTS and isinstance(child, dict):
        yield from _answered(child, place, below)
    elif key in _CODE:
        below.append((place, child, _Said(Stage.TOOL_CALL, "assistant", "code_execution")))
    elif key in _OUTPUT:
        below.append((place, child, _Said(Stage.TOOL_RESULT, "tool", "code_execution")))
    elif key in _SYSTEM:
        below.append((place, child, _Said(Stage.PROMPT, "system")))
    else:
        below.append((place, child, said))


def _called(call: dict[str, Any], place: Path, below: list[tuple[Path, Any, _Said]]) -> Iterator[Text]:
    """What the model passes to a tool: an object, judged as the JSON that it is.

    Nothing at all is an empty text: the tool is called all the same.
    """
    said = _Said(Stage.TOOL_CALL, "assistant", _tool(call))
    for key, value in call.items():
        if key == "args" and value is not None:
            yield from _whole(value, (*place, key), said)
        elif key not in _OPAQUE:
            below.append(((*place, key), value, said))
    if call.get("args") is None and said.tool is not None and pick(call, "partialArgs") is None:
        yield Text((*place, "args"), "", said.stage, said.role, said.tool)


def _answered(answer: dict[str, Any], place: Path, below: list[tuple[Path, Any, _Said]]) -> Iterator[Text]:
    """What a tool gave back: mostly one text under one key; any other object is judged as the JSON that it is."""
    said = _Said(Stage.TOOL_RESULT, "tool", _tool(answer))
    for key, value in answer.items():
        if key == "response" and isinstance(value, dict) and not _is_one_text(value):
            if value:
                yield from _whole(value, (*place, key), said)
        elif key == "response":
            yield from (
                Text(spot, found, *said) for spot, found in leaves(value, (*place, key), frozenset()) if found
            )
        elif key not in _OPAQUE:
            below.append(((*place, key), value, said))


def _is_one_text(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(next(iter(value.values())), str)


def _whole(value: Any, place: Path, said: _Said) -> Iterator[Text]:
    """A JSON value as one text; string by string where it cannot be written down."""
    if isinstance(value, dict | list):
        try:
            written = dump_json(value).decode()
        except (RecursionError, TypeError, ValueError):
            pass
        else:
            yield Text(place, written, said.stage, said.role, said.tool, is_json=True, structured=True)
            return
    yield from (Text(spot, found, *said) for spot, found in leaves(value, place, frozenset()) if found)


def _tool(node: Mapping[str, Any]) -> str | None:
    """The tool that is called or answers: by its name, or by its type for Google's own."""
    return string(node.get("name")) or string(pick(node, "toolType"))


def read_path(path: str) -> PathRead:
    """The model that a path names, and whether it asks for a stream.

    >>> read_path("/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse")
    PathRead(model='gemini-2.0-flash', stream=True)
    >>> read_path("/v1/projects/p/locations/l/endpoints/7:generateContent").model
    'endpoints/7'
    """
    model, path = None, path.partition("?")[0]
    for found in _MODEL.finditer(path):
        name = unquote(found["name"])
        model = name if found["kind"].lower() == "models" else f"{found['kind']}/{name}"
    return PathRead(model=model, stream=_STREAMED.search(path) is not None)


def error_body(message: str, status: str = "PERMISSION_DENIED", code: int = 403) -> dict[str, Any]:
    """An error in Google's shape."""
    return {"error": {"code": code, "message": message, "status": status}}


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:  # noqa: ARG001 - Google's codes are numbers
    """A stream event that Google's clients raise as an error."""
    return None, error_body(message)
