"""A provider that answers from scripts, in every OpenAI format, streamed or not: for demos and tests.

The first script whose ``when`` fits takes the call; what a script may say is
in `_FIELDS`. Everything here is pure: frames of bytes and the pauses between them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from ..codecs import codec_for_path
from ..codecs.openai import error_body
from ..codecs.parts import dump_json
from ..errors import ConfigError
from .messages import Headers, Request

__all__ = ["Play", "check_script", "play"]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_pause(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 3600


def _is_table_of(**kinds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping) and all(name in kinds and kinds[name](item) for name, item in value.items())
    )


def _is_list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(kind, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_is_condition = _is_table_of(contains=_is_text, model=_is_text, path=_is_text)
_is_call = _is_table_of(name=_is_text, arguments=lambda value: isinstance(value, str | Mapping))
_is_error = _is_table_of(
    status=lambda value: _is_count(value) and 400 <= value < 600,
    message=_is_text,
    code=_is_text,
    headers=lambda value: isinstance(value, Mapping),
)
# What a script may say: what it means, and how to tell that it can be read.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "when": ("which calls it takes: contains (in the last text), model and path (globs)", _is_condition),
        "text": ("the answer", _is_text),
        "chunks": ("the answer as the pieces it is streamed in", _is_list_of(_is_text)),
        "refusal": ("a refusal in place of an answer", _is_text),
        "tool_calls": (
            "tools to call: name and arguments (a table, or a string to be sent as it is)",
            _is_list_of(lambda value: _is_call(value) and "name" in value),
        ),
        "error": ("an error in place of an answer: status (400 to 599), message, code, headers", _is_error),
        "delay": ("seconds before the first byte", _is_pause),
        "interval": ("seconds between two events of a stream", _is_pause),
        "cut": ("break the connection after this many events of a stream", _is_count),
    }
)
# As many choices as OpenAI gives, and as long vectors.
_MAX_CHOICES, _MAX_DIMENSIONS = 128, 3072
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Play:
    """An answer to be played: each frame after its pause, in seconds; broken off at the end where ``cut``."""

    status: int
    headers: Headers
    frames: tuple[tuple[float, bytes], ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What to answer, before it is written in a format."""

    id: int
    model: str
    pieces: tuple[str, ...]
    refusal: str | None
    tool_calls: tuple[tuple[str, str], ...]
    input_tokens: int
    usage_asked: bool

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        return len(self.pieces) + sum(len(arguments) // 4 + 1 for _, arguments in self.tool_calls)


def check_script(where: str, script: Mapping[str, Any]) -> None:
    """Raise a `ConfigError` for a script with fields that nobody could read."""
    unknown = sorted(str(name) for name in script if name not in _FIELDS)
    if unknown:
        known = "; ".join(f"{name}: {meaning}" for name, (meaning, _) in _FIELDS.items())
        raise ConfigError(f"{where}: unknown field {', '.join(map(repr, unknown))}. Known are {known}")
    for name, value in script.items():
        meaning, fits = _FIELDS[name]
        if not fits(value):
            raise ConfigError(f"{where}: {name}={value!r} cannot be read. It says {meaning}")


def play(scripts: Sequence[Mapping[str, Any]], request: Request) -> Play:
    """The answer of the first script that takes a request; a call that no script takes is a 404 that says so."""
    codec = codec_for_path(request.path)
    writer = _WRITERS.get(codec.name) if codec is not None else None
    if codec is None or writer is None or request.method != "POST":
        return _error(404, {"message": f"the scripted provider does not answer {request.method} {request.path}"})
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        return _error(400, {"message": "the body is not JSON"})
    if not isinstance(body, Mapping):
        return _error(400, {"message": "the body is not an object"})
    call = codec.read_call(body)
    last = next((text.value for text in reversed(call.texts) if text.role not in ("system", "tool_definition")), "")
    script = next(
        (item for item in scripts if _takes(item.get("when", {}), last, call.model or "", request.path)), None
    )
    if script is None:
        return _error(404, {"message": "no script of the scripted provider takes this call"})
    delay = float(script.get("delay", 0.0))
    if "error" in script:
        return _error(int(script["error"].get("status", 500)), script["error"], delay)
    answer = _answer(script, call.model or "scripted", body, sum(len(text.value) // 4 + 1 for text in call.texts))
    if not call.stream:
        if (wrong := _wrong_number(body)) is not None:
            return _error(400, {"message": f"{wrong} is not a number that can be answered to"})
        return Play(200, (("content-type", "application/json"),), ((delay, dump_json(writer.body(answer, body))),))
    events = list(writer.events(answer))
    cut = script.get("cut")
    if cut is not None:
        events = events[: int(cut)]
    pauses = itertools.chain([delay], itertools.repeat(float(script.get("interval", 0.0))))
    headers = (("content-type", "text/event-stream; charset=utf-8"),)
    return Play(200, headers, tuple(zip(pauses, events, strict=False)), cut is not None)


def _wrong_number(body: Mapping[str, Any]) -> str | None:
    """Which of the parameters that say how much to answer cannot be followed."""
    for name, most in (("n", _MAX_CHOICES), ("dimensions", _MAX_DIMENSIONS)):
        value = body.get(name)
        if value is not None and not (_is_count(value) and 1 <= value <= most):
            return name
    return None


def _takes(when: Mapping[str, Any], last: str, model: str, path: str) -> bool:
    return (
        str(when.get("contains", "")).lower() in last.lower()
        and fnmatchcase(model, str(when.get("model", "*")))
        and fnmatchcase(path, str(when.get("path", "*")))
    )


def _answer(script: Mapping[str, Any], model: str, body: Mapping[str, Any], input_tokens: int) -> _Answer:
    pieces = script.get("chunks")
    if pieces is None:
        pieces = [word for word in _words(str(script.get("text", ""))) if word]
    calls = tuple(
        (str(call["name"]), arguments if isinstance(arguments, str) else json.dumps(arguments))
        for call in script.get("tool_calls", ())
        for arguments in [call.get("arguments", {})]
    )
    options = body.get("stream_options")
    asked = bool(isinstance(options, Mapping) and options.get("include_usage"))
    return _Answer(next(_ids), model, tuple(map(str, pieces)), script.get("refusal"), calls, input_tokens, asked)


def _words(text: str) -> list[str]:
    """A text in pieces as a model streams it: words with the space before them."""
    return text.replace(" ", "\0 ").split("\0")


def _error(status: int, error: Mapping[str, Any], delay: float = 0.0) -> Play:
    body = error_body(str(error.get("message", "scripted error")), str(error.get("code", "scripted_error")))
    given = tuple((str(name).lower(), str(value)) for name, value in dict(error.get("headers", {})).items())
    return Play(status, (("content-type", "application/json"), *given), ((delay, dump_json(body)),))


def _data(value: Any) -> bytes:
    return b"data: " + dump_json(value) + b"\n\n"


def _chat_usage(answer: _Answer) -> dict[str, int]:
    total = answer.input_tokens + answer.output_tokens
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": total,
    }


def _chat_calls(answer: _Answer) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{answer.id}_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(answer.tool_calls)
    ]


def _chat_body(answer: _Answer, body: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal}
    if answer.tool_calls:
        message["tool_calls"] = _chat_calls(answer)
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        for index in range(int(body.get("n") or 1))
    ]
    return {
        "id": f"chatcmpl-scripted-{answer.id}",
        "object": "chat.completion",
        "created": 0,
        "model": answer.model,
        "choices": choices,
        "usage": _chat_usage(answer),
    }


def _finish(answer: _Answer) -> str:
    return "tool_calls" if answer.tool_calls else "stop"


def _chat_events(answer: _Answer) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**envelope, "choices": [choice]})

    envelope = {
        "id": f"chatcmpl-scripted-{answer.id}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": answer.model,
    }
    yield chunk({"role": "assistant", "content": ""})
    for piece in answer.pieces:
        yield chunk({"content": piece})
    if answer.refusal:
        yield chunk({"refusal": answer.refusal})
    for index, call in enumerate(_chat_calls(answer)):
        arguments = call["function"]["arguments"]
        opened = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield chunk({"tool_calls": [opened]})
        for piece in _halves(arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(answer))
    if answer.usage_asked:
        yield _data({**envelope, "choices": [], "usage": _chat_usage(answer)})
    yield b"data: [DONE]\n\n"


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _completion_body(answer: _Answer, body: Any) -> dict[str, Any]:  # noqa: ARG001 - one signature for all
    choice = {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"cmpl-scripted-{answer.id}",
        "object": "text_completion",
        "created": 0,
        "model": answer.model,
        "choices": [choice],
        "usage": _chat_usage(answer),
    }


def _completion_events(answer: _Answer) -> Iterator[bytes]:
    envelope = {
        "id": f"cmpl-scripted-{answer.id}",
        "object": "text_completion",
        "created": 0,
        "model": answer.model,
    }
    finishes = [None] * len(answer.pieces) + ["stop"]
    for piece, finish in zip((*answer.pieces, ""), finishes, strict=True):
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": finish}
        yield _data({**envelope, "choices": [choice]})
    yield b"data: [DONE]\n\n"


def _response(answer: _Answer, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"resp_scripted_{answer.id}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        }
        if status == "completed"
        else None,
    }


def _response_items(answer: _Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    part: dict[str, Any] | None = None
    if answer.refusal:
        part = {"type": "refusal", "refusal": answer.refusal}
    elif answer.pieces or not answer.tool_calls:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
    if part is not None:
        identity = f"msg_scripted_{answer.id}"
        message = {"id": identity, "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        items.append(message)
    for index, (name, arguments) in enumerate(answer.tool_calls):
        items.append(
            {
                "id": f"fc_scripted_{answer.id}_{index}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{answer.id}_{index}",
                "name": name,
                "arguments": arguments,
            }
        )
    return items


def _response_body(answer: _Answer, body: Any) -> dict[str, Any]:  # noqa: ARG001
    return _response(answer, "completed", _response_items(answer))


def _response_events(answer: _Answer) -> Iterator[bytes]:
    numbers = itertools.count()

    def event(kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": next(numbers), **fields}
        return b"event: " + kind.encode() + b"\n" + _data(data)

    items = _response_items(answer)
    yield event("response.created", response=_response(answer, "in_progress", []))
    yield event("response.in_progress", response=_response(answer, "in_progress", []))
    for index, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": index}
        is_call = item["type"] == "function_call"
        empty: dict[str, Any] = {"arguments": ""} if is_call else {"content": []}
        opened = {**item, "status": "in_progress", **empty}
        yield event("response.output_item.added", output_index=index, item=opened)
        if is_call:
            for piece in _halves(item["arguments"]):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield event("response.function_call_arguments.done", **at, **done)
        else:
            yield from _part_events(event, item["content"][0], {**at, "content_index": 0}, answer)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=_response(answer, "completed", items))


def _part_events(
    event: Callable[..., bytes], part: dict[str, Any], at: Mapping[str, Any], answer: _Answer
) -> Iterator[bytes]:
    field, family = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
    extra: dict[str, Any] = {"logprobs": []} if family == "output_text" else {}
    yield event("response.content_part.added", **at, part={**part, field: ""})
    for piece in answer.pieces if family == "output_text" else [part[field]]:
        yield event(f"response.{family}.delta", **at, delta=piece, **extra)
    yield event(f"response.{family}.done", **at, **{field: part[field]}, **extra)
    yield event("response.content_part.done", **at, part=part)


def _embeddings_body(answer: _Answer, body: Any) -> dict[str, Any]:
    given = body.get("input")
    inputs: Iterable[Any] = given if isinstance(given, list) else [given]
    size = int(body.get("dimensions") or 8)
    data: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": _vector(item, size)}
        for index, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens}
    return {"object": "list", "data": data, "model": answer.model, "usage": usage}


def _vector(value: Any, size: int) -> list[float]:
    """A vector that is the same for the same text: bytes of its hash, scaled to -1 … 1."""
    digest = hashlib.sha256(repr(value).encode()).digest()
    return [round(digest[index % len(digest)] / 127.5 - 1, 6) for index in range(size)]


@dataclass(frozen=True, slots=True)
class _Writer:
    body: Callable[[_Answer, Any], dict[str, Any]]
    events: Callable[[_Answer], Iterable[bytes]]


_WRITERS: Mapping[str, _Writer] = MappingProxyType(
    {
        "openai-chat": _Writer(_chat_body, _chat_events),
        "openai-responses": _Writer(_response_body, _response_events),
        "openai-completions": _Writer(_completion_body, _completion_events),
        "openai-embeddings": _Writer(_embeddings_body, lambda _: ()),
    }
)
