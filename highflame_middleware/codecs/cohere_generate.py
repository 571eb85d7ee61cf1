"""cohere-generate: ``POST /v1/generate``, Cohere's older text-in, text-out API, and summarize and classify."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of
from .cohere import OPAQUE, fail, read_meta
from .openai import integer, mapping, number, read_unknown, sequence, stop_sequences, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

_GIVEN = ("prompt", "prompt_vars", "text", "additional_command", "inputs", "examples")
# The caller's own prompt comes back; likelihoods repeat the text token by token.
_ECHOED = OPAQUE | {"likelihood", "meta", "prompt", "token_likelihoods"}


def read_call(body: Any) -> CallRead:
    """The prompt, or the texts to be summed up or classified."""
    body = mapping(body)
    texts = tuple(Text(place, found, Stage.PROMPT) for place, found in _prompts(body) if found)
    return CallRead(string(body.get("model")), body.get("stream") is True, texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    return Params(
        max_tokens=integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("p")),
        top_k=integer(body.get("k")),
        frequency_penalty=number(body.get("frequency_penalty")),
        presence_penalty=number(body.get("presence_penalty")),
        seed=integer(body.get("seed")),
        choice_count=integer(body.get("num_generations")),
        stop_sequences=stop_sequences(body.get("stop_sequences")) or stop_sequences(body.get("end_sequences")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every generation's text."""
    read = mapping(body)
    if "generations" not in read:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    return ReplyRead(tuple(_generations(read, ())), _summary(read))


class Reader:
    """Reads events; each generation is one text, and all of them come whole again at the end."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - lines have no names
        """Read one event."""
        body = mapping(data)
        if not body.keys() & {"event_type", "is_finished", "text"}:
            return EventRead(tuple(read_unknown(data)))
        index = integer(body.get("index")) or 0
        response = mapping(body.get("response"))
        texts = [text._replace(channel=(index, *text.path)) for text in _said(body, (), _ECHOED | {"response"})]
        texts.extend(_generations(response, ("response",)))
        ended = bool(response) or body.get("event_type") == "stream-end"
        return EventRead(tuple(texts), (), _summary(response) if response else None, terminal=ended)


def refuse(message: str) -> dict[str, Any]:
    """A reply whose only generation says no."""
    generation = {"id": "highflame", "text": message, "finish_reason": "ERROR"}
    return {"id": "highflame", "prompt": "", "generations": [generation]}


def _prompts(body: Any) -> Iterator[tuple[Path, str]]:
    for key in _GIVEN:
        yield from leaves(body.get(key), (key,), frozenset())


def _generations(body: Any, path: Path) -> Iterator[Text]:
    yield from _said({key: value for key, value in body.items() if key != "generations"}, path, _ECHOED)
    for position, generation in items_of(body.get("generations")):
        place: Path = (*path, "generations", *position)
        shadows = ((*place, "token_likelihoods"),) if mapping(generation).get("token_likelihoods") else ()
        for text in _said(generation, place, _ECHOED):
            yield text._replace(shadows=shadows)


def _said(value: Any, path: Path, opaque: frozenset[str]) -> Iterator[Text]:
    for place, found in leaves(value, path, opaque):
        if found:
            yield Text(place, found, Stage.RESPONSE, "assistant")


def _summary(body: Any) -> Summary:
    generations = [mapping(item) for item in sequence(body.get("generations"))]
    told = Summary(
        id=string(body.get("id")),
        finish_reasons=tuple(reason for item in generations if (reason := string(item.get("finish_reason")))),
    )
    return told.updated(read_meta(body.get("meta")))


CODEC = Codec(
    name="cohere-generate",
    provider="cohere",
    operation="text_completion",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
