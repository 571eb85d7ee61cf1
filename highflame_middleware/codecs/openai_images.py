"""openai-images: ``POST /images/generations``, ``/edits`` and ``/variations``, which are forms, and may stream.

Text is the prompt that goes in and the prompt as the model revised it; the images are blobs, and pass.
"""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .openai import OPAQUE, fail, integer, mapping, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# Keys whose strings are enumerations, ids or images; any other may be prose.
_PASSED = (OPAQUE - {"data"}) | {
    "b64_json",
    "background",
    "image",
    "image[]",
    "images",
    "input_fidelity",
    "mask",
    "model",
    "moderation",
    "output_format",
    "quality",
    "response_format",
    "safety_identifier",
    "size",
    "style",
    "url",
    "user",
}


def read_call(body: Any) -> CallRead:
    """The prompt, and whatever else is none of the known parameters."""
    read = mapping(body)
    texts = tuple(_texts(read, (), Stage.PROMPT, "user"))
    # In a form the flag is a word.
    return CallRead(string(read.get("model")), read.get("stream") in (True, "true"), texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    return Params(choice_count=integer(mapping(body).get("n")), output_type="image")


def read_reply(body: Any) -> ReplyRead:
    """The revised prompts, and the tokens used."""
    return ReplyRead(tuple(_texts(body, (), Stage.RESPONSE, "assistant")), _summary(mapping(body)))


class Reader:
    """Reads the events of a stream: images so far and the whole ones, hardly ever with a text."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - the data say what they are
        """Read one event."""
        return EventRead(tuple(_texts(data, (), Stage.RESPONSE, "assistant")), (), _summary(mapping(data)))


def refuse(message: str) -> dict[str, Any]:  # noqa: ARG001 - images cannot say why
    """A reply without images."""
    return {"created": 0, "data": []}


def _texts(value: Any, path: Path, stage: Stage, role: str) -> list[Text]:
    return [Text(place, found, stage, role) for place, found in leaves(value, path, _PASSED) if found]


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    return Summary(
        input_tokens=integer(usage.get("input_tokens")), output_tokens=integer(usage.get("output_tokens"))
    )


CODEC = Codec(
    name="openai-images",
    provider="openai",
    operation="generate_content",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    media=("image/", "application/octet-stream"),
)
