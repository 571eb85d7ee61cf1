"""gemini-live: the messages of a ``BidiGenerateContent`` connection, each way.

A turn's texts come in pieces and end with the turn; a call of tools comes
whole. A connection has no end of its own, so nothing here ends a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .google import both, error_body, pick, walk
from .openai import integer, mapping, sequence, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, dump_json, leaves

__all__ = ["CODEC"]

_PASSED = both("sessionResumption", "sessionResumptionUpdate", "usageMetadata", "model", "toolCallCancellation")
_CALLS = both("toolCall")
_RESPONSES = both("toolResponse")
_CONTENT = both("serverContent")
_TRANSCRIPTS = {
    **dict.fromkeys(both("inputTranscription"), (Stage.PROMPT, "user")),
    **dict.fromkeys(both("outputTranscription"), (Stage.RESPONSE, "assistant")),
}
_TURN = both("modelTurn")
_TURN_ENDS = ("turnComplete", "generationComplete", "interrupted")


def read_call(body: Any) -> CallRead:
    """One message to be sent: the setup, what the user says, what tools gave back."""
    said = mapping(body)
    texts: list[Text] = []
    for key, value in said.items():
        for inner, child in value.items() if isinstance(value, dict) else ():
            if inner not in _PASSED:
                place: Path = (key, inner)
                texts.extend(_given_back(child, place) if key in _RESPONSES else _said(child, place))
        if not isinstance(value, dict):
            texts.extend(_said(value, (key,)))
    return CallRead(string(mapping(said.get("setup")).get("model")), stream=False, texts=tuple(texts))


def read_params(body: Any) -> Params:  # noqa: ARG001 - a session's are not those of one inference
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """One message, as if it were all there is."""
    read = Reader().read(body, None)
    return ReplyRead(tuple(text._replace(channel=None) for text in read.texts), read.summary or Summary())


class Reader:
    """Reads the messages that are received."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - messages have no names
        """Read one message: more of a turn or its end, a call of tools, or something of another kind."""
        said = mapping(data)
        texts: list[Text] = []
        ended = any(pick(pick(said, "serverContent"), name) is True for name in _TURN_ENDS)
        for key, value in said.items():
            if key in _CALLS:
                ended = True
                texts.extend(_called(value, (key,)))
            elif key in _CONTENT and isinstance(value, dict):
                for inner, child in value.items():
                    texts.extend(_spoken(inner, child, (key, inner)))
            elif key not in _PASSED:
                texts.extend(walk(value, (key,), Stage.RESPONSE, "assistant"))
        if not isinstance(data, dict):
            texts.extend(walk(data, (), Stage.RESPONSE, "assistant"))
        return EventRead(tuple(texts), ((),) if ended else (), _summary(said))


def refuse(message: str) -> dict[str, Any]:
    """A message that says what went wrong."""
    return error_body(message)


def fail(message: str, code: str) -> tuple[str | None, Any]:  # noqa: ARG001 - Google's own codes are numbers
    """The same."""
    return None, error_body(message)


def _said(value: Any, path: Path) -> Iterator[Text]:
    role = "system" if path[-1] in both("systemInstruction") else "user"
    yield from walk({path[-1]: value}, path[:-1], Stage.PROMPT, role)


def _given_back(value: Any, path: Path) -> Iterator[Text]:
    for index, response in enumerate(sequence(value)):
        tool = string(mapping(response).get("name"))
        for key, child in mapping(response).items():
            if key not in ("id", "name", "scheduling"):
                for place, found in leaves(
                    child, (*path, index, key), frozenset({"data", "mimeType", "mime_type"})
                ):
                    if found:
                        yield Text(place, found, Stage.TOOL_RESULT, "tool", tool)


def _called(value: Any, path: Path) -> Iterator[Text]:
    """The tools that are called: what each is passed is an object, judged as the JSON that it is."""
    for key, calls in mapping(value).items():
        for index, call in enumerate(sequence(calls)):
            place: Path = (*path, key, index, "args")
            tool = string(mapping(call).get("name"))
            arguments = mapping(call).get("args")
            if arguments:
                written = dump_json(arguments).decode("utf-8", "replace")
                yield Text(place, written, Stage.TOOL_CALL, "assistant", tool, None, is_json=True, structured=True)
            elif isinstance(call, dict):
                yield Text(place, "", Stage.TOOL_CALL, "assistant", tool)


def _spoken(key: str, value: Any, path: Path) -> Iterator[Text]:
    """What the server says: pieces of a turn and of transcripts; the rest is whole."""
    if key in _TRANSCRIPTS:
        stage, role = _TRANSCRIPTS[key]
        for text in walk(value, path, stage, role):
            yield text._replace(channel=(path[-1], *text.path[2:]))
    elif key in _TURN:
        for index, part in enumerate(sequence(mapping(value).get("parts"))):
            thinks = mapping(part).get("thought") is True
            for text in walk(part, (*path, "parts", index), Stage.RESPONSE, "assistant"):
                grows = text.path[4:] == ("text",)
                yield text._replace(channel=("turn", thinks)) if grows else text
    else:
        yield from walk(value, path, Stage.RESPONSE, "assistant")


def _summary(said: Any) -> Summary | None:
    usage = pick(said, "usageMetadata")
    if not isinstance(usage, dict):
        return None
    return Summary(
        input_tokens=integer(pick(usage, "promptTokenCount")),
        output_tokens=integer(pick(usage, "responseTokenCount")),
    )


CODEC = Codec(
    name="gemini-live",
    provider="gemini",
    operation="generate_content",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
