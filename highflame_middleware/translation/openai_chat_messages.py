"""The messages of openai-chat, in calls and in replies, read into turns and written from them.

The form of a message says how it was written where there are several ways; its
absence, that another format wrote it. A message cannot say a text after a tool
call: texts come first, then calls. An `OtherPart` is a field of the message, or
an element of its ``content`` or ``tool_calls``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .conversation import (
    MediaPart,
    Message,
    OtherPart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from .fields import form_of, keep, kept, mapping, sequence, string
from .leftovers import Leftover
from .media import kind_of, mime_of
from .openai_parts import audio_type, data_url, file_of, merged, named, own, read_data_url
from .translator import UntranslatableError

__all__ = [
    "FINISHES",
    "NAME",
    "REASONING",
    "USAGE",
    "read_message",
    "read_messages",
    "write_messages",
    "write_reply_message",
]

NAME = "openai-chat"
# What providers call the thoughts that they show.
REASONING = ("reasoning_content", "reasoning")
USAGE = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
FINISHES = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_RESULT_ROLES = ("tool", "function")
_KINDS = {"image": "image_url", "audio": "input_audio", "document": "file"}
# A whole content or message of no shape that is known, as it stands.
_AS_IT_IS = "as it is"


def read_messages(messages: Sequence[Any]) -> tuple[Message, ...]:
    """The turns that a call's messages are."""
    out: list[Message] = []
    legacy: dict[str, str] = {}
    for message in messages:
        read = read_message(message, legacy_id=f"call_{len(legacy)}")
        for part in read.parts:
            # The older API had no ids: a result is that of the last call of the function.
            if isinstance(part, ToolCallPart) and form_of(NAME, part.extra) == "function_call":
                legacy[part.name] = part.id
        if form_of(NAME, read.extra).get("role") == "function":
            read = _answering(read, legacy)
        out.append(read)
    return tuple(out)


def _answering(message: Message, legacy: dict[str, str]) -> Message:
    (part,) = message.parts
    assert isinstance(part, ToolResultPart)
    answer = ToolResultPart(
        call_id=legacy.get(part.name or "", ""), name=part.name, parts=part.parts, extra=part.extra
    )
    return Message(role="tool", parts=(answer,), extra=message.extra)


def read_message(message: Any, *, legacy_id: str = "call_0") -> Message:
    """One message; what is none is kept as it is."""
    left = Leftover(message)
    role = left.take("role", string)
    if not isinstance(message, dict) or (role not in _ROLES and role not in _RESULT_ROLES):
        other = OtherPart(format=NAME, value={"message": message})
        return Message(role="user", parts=(other,), extra=keep(NAME, form={"role": _AS_IT_IS}))
    if role in _RESULT_ROLES:
        return _read_result(left, str(role))
    form: dict[str, Any] = {"role": role}
    parts: list[Part] = []
    for key in REASONING:
        if text := left.take(key, string):
            parts.append(ReasoningPart(text=text, extra=keep(NAME, form=key)))
            break
    else:
        left.rest.update({key: message[key] for key in REASONING if message.get(key) == ""})
    parts += _read_content(left, form)
    if refusal := left.take("refusal", lambda value: string(value) or None):
        parts.append(RefusalPart(text=refusal))
    parts += _read_calls(left, legacy_id)
    # What the model once said aloud, by a name that only this API knows.
    if role == "assistant" and isinstance(left.rest.get("audio"), dict):
        parts.append(OtherPart(format=NAME, value={"audio": left.rest.pop("audio")}))
    name = left.take("name", string)
    return Message(role=_ROLES[str(role)], parts=tuple(parts), name=name, extra=keep(NAME, left.rest, form=form))


def _read_result(left: Leftover, role: str) -> Message:
    form: dict[str, Any] = {"role": role}
    call_id = left.take("tool_call_id", string)
    name = left.take("name", string)
    if call_id is None:
        form["id"] = None
    parts = tuple(_read_content(left, form))
    result = ToolResultPart(call_id=call_id or "", name=name, parts=parts, extra=keep(NAME, left.rest))
    return Message(role="tool", parts=(result,), extra=keep(NAME, form=form))


def _read_content(left: Leftover, form: dict[str, Any]) -> list[Part]:
    """A message's content; the form remembers a content that has no part."""
    content = left.rest.pop("content", _AS_IT_IS)
    if content is _AS_IT_IS:
        return []
    if isinstance(content, str) and content:
        return [TextPart(text=content)]
    if isinstance(content, list) and content:
        return [_read_part(part) for part in content]
    if content is None or content in ("", []):
        form["content"] = content
        return []
    return [OtherPart(format=NAME, value={"whole": content})]


def _read_part(part: Any) -> Part:
    left = Leftover(part)
    kind = left.rest.get("type")
    read: Part | None = None
    if kind == "text":
        read = _read_text(left)
    elif kind == "refusal" and (refusal := left.take("refusal", string)) is not None:
        read = RefusalPart(text=refusal, extra=_listed(left))
    elif kind == "image_url":
        read = _read_image(left)
    elif kind == "input_audio":
        read = _read_audio(left)
    elif kind == "file":
        read = _read_file(left)
    return read or OtherPart(format=NAME, value={"content": part})


def _listed(left: Leftover, *, bare: bool = False) -> Any:
    """What is kept of a part of a content: its type, and that it was not spelt out in full."""
    kind = left.rest.pop("type")
    return keep(NAME, left.rest, form=(kind, bare))


def _read_text(left: Leftover) -> Part | None:
    text = left.take("text", string)
    return None if text is None else TextPart(text=text, extra=_listed(left))


def _read_image(left: Leftover) -> Part | None:
    bare = isinstance(left.rest.get("image_url"), str)
    if bare:
        # As Mistral has it.
        left.rest["image_url"] = {"url": left.rest["image_url"]}
    inner = Leftover(left.rest.get("image_url"))
    url = inner.take("url", string)
    if url is None:
        return None
    left.rest["image_url"] = inner.rest
    if not inner.rest:
        del left.rest["image_url"]
    extra = _listed(left, bare=bare)
    if found := read_data_url(url):
        return MediaPart(kind="image", mime_type=found[0], data=found[1], extra=extra)
    return MediaPart(kind="image", url=url, extra=extra)


def _read_audio(left: Leftover) -> Part | None:
    inner = Leftover(left.rest.get("input_audio"))
    data, said = inner.take("data", string), inner.take("format", string)
    if data is None or said is None:
        return None
    left.rest["input_audio"] = inner.rest
    if not inner.rest:
        del left.rest["input_audio"]
    return MediaPart(kind="audio", mime_type=audio_type(said, read=True), data=data, extra=_listed(left))


def _read_file(left: Leftover) -> Part | None:
    inner = Leftover(left.rest.get("file"))
    data, name, identity = (inner.take(key, string) for key in ("file_data", "filename", "file_id"))
    if data is None and identity is None:
        return None
    left.rest["file"] = inner.rest
    if not inner.rest:
        del left.rest["file"]
    found = read_data_url(data) if data is not None else None
    # OpenRouter takes an address for the data itself.
    url = data if data is not None and data.startswith(("https://", "http://")) else None
    return MediaPart(
        kind=kind_of(found[0] if found else None),
        mime_type=found[0] if found else None,
        data=found[1] if found else None if url else data,
        url=url,
        file_id=identity,
        name=name,
        extra=_listed(left, bare=found is None and data is not None),
    )


def _read_calls(left: Leftover, legacy_id: str) -> Iterator[Part]:
    calls = left.rest.get("tool_calls")
    if isinstance(calls, list) and calls:
        del left.rest["tool_calls"]
        for call in calls:
            yield _read_call(call)
    called = Leftover(left.rest.get("function_call"))
    name, arguments = called.take("name", string), called.take("arguments", string)
    if name is not None and arguments is not None:
        del left.rest["function_call"]
        extra = keep(NAME, called.rest, form="function_call")
        yield ToolCallPart(id=legacy_id, name=name, arguments=arguments, extra=extra)


def _read_call(call: Any) -> Part:
    left = Leftover(call)
    inner = Leftover(left.rest.get("function"))
    identity = left.take("id", string)
    name, arguments = inner.take("name", string), inner.take("arguments", string)
    kind = left.rest.pop("type", None)
    if identity is None or name is None or arguments is None or kind not in ("function", None):
        return OtherPart(format=NAME, value={"tool_calls": call})
    left.rest["function"] = inner.rest
    if not inner.rest:
        del left.rest["function"]
    extra = keep(NAME, left.rest, form=None if kind else "untyped")
    return ToolCallPart(id=identity, name=name, arguments=arguments, extra=extra)


def write_messages(messages: Iterable[Message], dropped: list[str]) -> list[Any]:
    """The messages that turns are; what is left out is added to ``dropped``."""
    out: list[Any] = []
    for message in messages:
        form = mapping(form_of(NAME, message.extra))
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        others = [part for part in message.parts if not isinstance(part, ToolResultPart)]
        out += [_write_result(result, form, dropped) for result in results]
        if form.get("role") == _AS_IT_IS:
            out += [own(part, NAME)["message"] for part in others if isinstance(part, OtherPart)]
        elif others or not results:
            written = _write_turn(message, others, form, dropped)
            # Results must follow the message that all the calls of a turn stand in.
            if not form and out and written["role"] == "assistant" == mapping(out[-1]).get("role"):
                _join(out[-1], written)
            else:
                out.append(written)
    return out


def _join(before: dict[str, Any], written: dict[str, Any]) -> None:
    texts = [_listing(message.get("content")) for message in (before, written)]
    both = texts[0] + texts[1]
    before.update({key: value for key, value in written.items() if key not in ("role", "content", "tool_calls")})
    if both:
        before["content"] = both if len(both) > 1 or both[0]["type"] != "text" else both[0]["text"]
    if calls := [*before.get("tool_calls", ()), *written.get("tool_calls", ())]:
        before["tool_calls"] = calls


def _listing(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(sequence(content))


def _write_result(part: ToolResultPart, form: Any, dropped: list[str]) -> dict[str, Any]:
    role = form.get("role", "tool")
    if part.is_error:
        dropped.append("messages.is_error")
    if any(isinstance(inner, MediaPart) for inner in part.parts):
        raise UntranslatableError(f"{NAME} has no words for media in a tool's result")
    body: dict[str, Any] = {**kept(NAME, part.extra), "role": role}
    if role == "function" or (form and part.name is not None):
        body["name"] = part.name or ""
    if role == "tool" and ("id" not in form or part.call_id):
        body["tool_call_id"] = part.call_id
    _put_content(body, part.parts, form, empty="")
    return body


def _write_turn(message: Message, parts: Sequence[Part], form: Any, dropped: list[str]) -> dict[str, Any]:
    role = form.get("role", "user" if message.role == "tool" else message.role)
    body: dict[str, Any] = {**kept(NAME, message.extra), "role": role}
    if message.name is not None:
        body["name"] = message.name
    content: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCallPart) and role != "assistant":
            raise UntranslatableError(f"{NAME} has no words for a tool call of {named(role)}")
        if isinstance(part, ReasoningPart):
            key = form_of(NAME, part.extra)
            if key in REASONING:
                body[key] = part.text
            else:
                # Bound to the provider that made it.
                dropped.append("messages.reasoning")
        elif not _put_beside(body, part):
            content.append(part)
    calls = "tool_calls" in body or "function_call" in body or "refusal" in body
    _put_content(body, content, form, empty=None if calls else "")
    return body


def _put_beside(body: dict[str, Any], part: Part) -> bool:
    """Put a part that stands beside the content; whether it does."""
    if isinstance(part, ToolCallPart):
        if form_of(NAME, part.extra) == "function_call":
            body["function_call"] = {**kept(NAME, part.extra), "name": part.name, "arguments": part.arguments}
        else:
            _append(body, "tool_calls", _write_call(part))
    elif isinstance(part, RefusalPart) and form_of(NAME, part.extra) is None:
        body["refusal"] = (body.get("refusal") or "") + part.text
    elif isinstance(part, OtherPart):
        for key, value in own(part, NAME).items():
            if key in ("content", "whole"):
                return False
            if key == "tool_calls":
                _append(body, key, value)
            else:
                body[key] = value
    else:
        return False
    return True


def _append(body: dict[str, Any], key: str, value: Any) -> None:
    body[key] = [*sequence(body.get(key)), value]


def _write_call(part: ToolCallPart) -> dict[str, Any]:
    said = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
    if form_of(NAME, part.extra) == "untyped":
        del said["type"]
    return merged(kept(NAME, part.extra), said)


def _put_content(body: dict[str, Any], parts: Sequence[Part], form: Any, *, empty: str | None) -> None:
    """The content: one text as a string, unless it stood in a list."""
    if not parts:
        if "content" in form or not form:
            body["content"] = form.get("content", empty)
        return
    first = parts[0]
    if isinstance(first, OtherPart) and "whole" in own(first, NAME):
        body["content"] = own(first, NAME)["whole"]
    elif len(parts) == 1 and isinstance(first, TextPart) and form_of(NAME, first.extra) is None:
        body["content"] = first.text
    else:
        body["content"] = [_write_part(part, str(body["role"])) for part in parts]


def _write_part(part: Part, role: str) -> Any:
    if isinstance(part, OtherPart):
        return own(part, NAME)["content"]
    if isinstance(part, TextPart):
        said: dict[str, Any] = {"type": "text", "text": part.text}
    elif isinstance(part, RefusalPart):
        said = {"type": "refusal", "refusal": part.text}
    elif isinstance(part, MediaPart) and (role == "user" or form_of(NAME, part.extra) is not None):
        said = _write_media(part)
    else:
        raise UntranslatableError(f"{NAME} has no words for media of {named(role)}")
    return merged(kept(NAME, part.extra), said)


def _write_media(part: MediaPart) -> dict[str, Any]:
    kind, bare = form_of(NAME, part.extra) or (_KINDS.get(part.kind), False)
    if kind == "image_url" and part.file_id is None:
        url = data_url(mime_of(part), part.data) if part.data is not None else part.url
        if url is not None:
            return {"type": kind, kind: url if bare else {"url": url}}
    if kind == "input_audio" and part.data is not None:
        said = audio_type(part.mime_type or "audio/wav", read=False)
        return {"type": kind, kind: {"data": part.data, "format": said}}
    # By an address, or of a kind that is none of these, this API takes no media.
    if kind == "file" and (bare or part.url is None):
        file: dict[str, Any] = {"file_id": file_of(part), "filename": part.name, "file_data": part.url}
        if part.data is not None:
            file["file_data"] = part.data if bare else data_url(mime_of(part), part.data)
            if part.name is None and form_of(NAME, part.extra) is None:
                file["filename"] = "document"
        return {"type": kind, kind: {key: value for key, value in file.items() if value is not None}}
    raise UntranslatableError(f"{NAME} has no words for {named(part.kind)} given so")


def write_reply_message(parts: Sequence[Part], form: Any) -> dict[str, Any]:
    """The message of a reply: its texts are one string there, whatever pieces they came in."""
    body: dict[str, Any] = {"role": form.get("role", "assistant")}
    content: list[Part] = []
    for part in parts:
        if isinstance(part, ReasoningPart):
            key = form_of(NAME, part.extra)
            key = key if key in REASONING else REASONING[0]
            if part.text:
                body[key] = body.get(key, "") + part.text
        elif not _put_beside(body, part):
            content.append(part)
    if content and not form and all(isinstance(part, TextPart) for part in content):
        body["content"] = "".join(part.text for part in content if isinstance(part, TextPart))
    else:
        _put_content(body, content, form, empty=None)
    return body
