"""gemini: ``generateContent`` and its kin, whole or as a stream in which each event is a reply of its own.

Caches, token counts, batches, images and videos hold the same contents or
prompts, and are read here too; embeddings have a codec of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

from ..types import Stage
from .google import both, fail, pick, read_path, walk
from .openai import integer, mapping, number, read_unknown, sequence, stop_sequences, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_MODALITIES = {"AUDIO": "speech", "IMAGE": "image", "TEXT": "text"}
_CALL_KEYS, _PARTIAL_KEYS = both("functionCall"), both("partialArgs")
_LOGPROBS = both("logprobsResult")
_GENERATING = ("generatecontent", "predict", "predictlongrunning")
# The channel and the tool of each call in an event, by its place.
_Calls: TypeAlias = dict[Path, tuple[Channel, str | None]]


def read_call(body: Any) -> CallRead:
    """Every content, instruction, tool definition and image prompt that the model will read."""
    model = string(mapping(body).get("model"))
    texts = tuple(walk(body, (), Stage.PROMPT, "user"))
    return CallRead(model.removeprefix("models/") if model else None, stream=False, texts=texts)


def name_operation(method: str, path: str) -> str | None:  # noqa: ARG001 - the path says it
    """What the conventions call it to have something generated; to count or to keep has no name there."""
    return "generate_content" if path.lower().endswith(_GENERATING) else None


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    asked = mapping(pick(body, "generationConfig"))
    modalities = [_MODALITIES.get(str(item).upper()) for item in sequence(pick(asked, "responseModalities"))]
    output = "json" if string(pick(asked, "responseMimeType")) == "application/json" else None
    if output is None and len(modalities) == 1:
        output = modalities[0]
    return Params(
        max_tokens=integer(pick(asked, "maxOutputTokens")),
        temperature=number(pick(asked, "temperature")),
        top_p=number(pick(asked, "topP")),
        top_k=_count(pick(asked, "topK")),
        frequency_penalty=number(pick(asked, "frequencyPenalty")),
        presence_penalty=number(pick(asked, "presencePenalty")),
        seed=integer(pick(asked, "seed")),
        choice_count=integer(pick(asked, "candidateCount")),
        stop_sequences=stop_sequences(pick(asked, "stopSequences")),
        output_type=output,
    )


def read_reply(body: Any) -> ReplyRead:
    """Every candidate; a stream that was not asked for as events is a list of replies."""
    if not isinstance(body, list | tuple):
        return ReplyRead(tuple(_texts(body, ())), _summary(body))
    texts: list[Text] = []
    summary = Summary()
    for index, item in enumerate(body):
        texts.extend(_texts(item, (index,)))
        summary = summary.updated(_summary(item))
    return ReplyRead(tuple(texts), summary)


class Reader:
    """Reads the events of a stream; keeps which call of each candidate is still being written.

    What is said is only taken for ended when the stream is: some models give a
    reason to finish in every event.
    """

    def __init__(self) -> None:
        self._calls: dict[int, tuple[int, str | None]] = {}

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - these events have no name
        """Read one event: the next pieces of every candidate, and whatever it says whole."""
        if not isinstance(data, dict) or "error" in data:
            return EventRead(tuple(read_unknown(data)))
        closes: list[Channel] = []
        calls = self._continued(data, closes)
        texts = tuple(_placed(text, data, calls) for text in _texts(data, ()))
        return EventRead(texts, tuple(closes), _summary(data))

    def _continued(self, data: dict[str, Any], closes: list[Channel]) -> _Calls:
        """Which call each ``functionCall`` of an event begins or goes on with, and its tool."""
        calls: _Calls = {}
        for position, candidate in enumerate(sequence(data.get("candidates"))):
            index = _index(candidate, position)
            parts = mapping(mapping(candidate).get("content")).get("parts")
            for number_, part in enumerate(sequence(parts)):
                for key in _CALL_KEYS:
                    call = mapping(part).get(key)
                    if not isinstance(call, dict):
                        continue
                    count, tool = self._calls.get(index, (0, None))
                    if (name := string(call.get("name"))) is not None:
                        count, tool = count + 1, name
                    self._calls[index] = (count, tool)
                    channel: Channel = (index, "call", count)
                    calls["candidates", position, "content", "parts", number_, key] = (channel, tool)
                    if pick(call, "willContinue") is not True:
                        closes.append(channel)
        return calls


def refuse(message: str) -> dict[str, Any]:
    """A reply whose only candidate was stopped."""
    content = {"role": "model", "parts": [{"text": message}]}
    return {"candidates": [{"index": 0, "content": content, "finishReason": "SAFETY"}]}


def _placed(text: Text, chunk: dict[str, Any], calls: _Calls) -> Text:
    """A text with the channel that it is a piece of: what a part says goes on in the next event."""
    where = text.path
    if len(where) < 4 or (where[0], where[2]) != ("candidates", "content"):
        return text
    if text.stage is Stage.TOOL_CALL and (known := calls.get(where[:6])) is not None:
        if len(where) < 9 or where[6] not in _PARTIAL_KEYS:
            return text
        channel, tool = known
        entry = _at(chunk, where[:8])
        written = string(pick(entry, "jsonPath"))
        return text._replace(channel=(*channel, written or where[7], *where[8:]), tool=tool)
    if text.stage is not Stage.RESPONSE:
        return text
    index = _index(_at(chunk, where[:2]), where[1])
    thought = len(where) > 4 and bool(mapping(_at(chunk, where[:5])).get("thought"))
    inside = where[5:] if where[3] == "parts" else where[3:]
    return text._replace(channel=(index, "thought" if thought else "text", *inside))


def _texts(body: Any, path: Path) -> Iterator[Text]:
    """Every text of one reply; where a candidate has log probabilities, they spell its texts out again."""
    for text in walk(body, path, Stage.RESPONSE, "assistant"):
        place = text.path[len(path) :]
        if len(place) > 2 and place[0] == "candidates":
            candidate = _at(body, place[:2])
            found = [key for key in _LOGPROBS if mapping(candidate).get(key)]
            shadows = tuple((*path, *place[:2], key) for key in found)
            yield text._replace(shadows=shadows) if shadows else text
        else:
            yield text


def _at(body: Any, path: Path) -> Any:
    """What stands at a place that a text was found below."""
    for key in path:
        body = body[key]
    return body


def _index(candidate: Any, position: int | str) -> int:
    """The number that a candidate gives itself, or its place: the first gives none."""
    given = integer(mapping(candidate).get("index"))
    return given if given is not None else position if isinstance(position, int) else 0


def _summary(body: Any) -> Summary:
    usage = mapping(pick(body, "usageMetadata"))
    candidates = [mapping(candidate) for candidate in sequence(mapping(body).get("candidates"))]
    reasons = tuple(reason for candidate in candidates if (reason := string(pick(candidate, "finishReason"))))
    thoughts = _tokens(usage, "thoughtsTokenCount")
    return Summary(
        id=string(pick(body, "responseId")),
        model=string(pick(body, "modelVersion")),
        finish_reasons=reasons,
        # What tools put into the prompt is billed as input, what is thought as output.
        input_tokens=_sum(
            integer(pick(usage, "promptTokenCount")), integer(pick(usage, "toolUsePromptTokenCount"))
        ),
        output_tokens=_sum(integer(pick(usage, "candidatesTokenCount")), thoughts),
        cached_tokens=_tokens(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def _count(value: Any) -> int | None:
    """A whole number, also one that is written as 40.0."""
    given = number(value)
    return int(given) if given is not None and given.is_integer() else None


def _tokens(usage: Any, name: str) -> int | None:
    return integer(pick(usage, name))


def _sum(first: int | None, second: int | None) -> int | None:
    return (first or 0) + (second or 0) if first is not None or second is not None else None


CODEC = Codec(
    name="gemini",
    provider="gemini",
    operation="generate_content",
    name_operation=name_operation,
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    read_path=read_path,
    telling=re.compile(rb'"(finishReason|finish_reason|error)"'),
)
