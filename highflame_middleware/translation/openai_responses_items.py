"""The items of openai-responses, in calls and in replies, read into turns and parts and written from them.

Each item of a call is a message of its own. The texts of a reply remember the
item they stood in, so that they are written into the same again. An `OtherPart`
is a whole item, or a part of one's content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

__all__ = ["NAME", "read_item", "read_output", "write_item", "write_items", "write_output"]

NAME = "openai-responses"
_KINDS = {"image": "input_image", "audio": "input_audio", "document": "input_file"}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def read_item(item: Any) -> Message:
    """One item of a call's input."""
    left = Leftover(item)
    kind = left.rest.get("type", "message")
    read: Message | None = None
    if kind == "message":
        read = _read_message(left)
    elif kind == "function_call" and (call := _read_call(left)) is not None:
        read = Message(role="assistant", parts=(call,), extra=keep(NAME, form="item"))
    elif kind == "function_call_output" and (result := _read_result(left)) is not None:
        read = Message(role="tool", parts=(result,), extra=keep(NAME, form="item"))
    elif kind == "reasoning":
        read = Message(role="assistant", parts=(_read_reasoning(left),), extra=keep(NAME, form="item"))
    if read is not None:
        return read
    spoken = isinstance(kind, str) and not kind.endswith("_output")
    other = OtherPart(format=NAME, value={"item": item})
    return Message(role="assistant" if spoken else "tool", parts=(other,), extra=keep(NAME, form="item"))


def _read_message(left: Leftover) -> Message | None:
    role, content = left.rest.get("role"), left.rest.get("content")
    if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str | list):
        return None
    form: dict[str, Any] = {"role": left.rest.pop("role"), "typed": "type" in left.rest}
    left.rest.pop("type", None)
    del left.rest["content"]
    if isinstance(content, str) and content:
        parts: tuple[Part, ...] = (TextPart(text=content),)
    else:
        parts = tuple(_read_part(part) for part in content)
    if not parts:
        form["content"] = content
    return Message(role=_ROLES[role], parts=parts, extra=keep(NAME, left.rest, form=form))


def _read_part(part: Any) -> Part:
    left = Leftover(part)
    kind = left.rest.get("type")
    read: Part | None = None
    if kind in ("input_text", "output_text") and (text := left.take("text", string)) is not None:
        read = TextPart(text=text, extra=_listed(left))
    elif kind == "refusal" and (refusal := left.take("refusal", string)) is not None:
        read = RefusalPart(text=refusal, extra=_listed(left))
    elif kind == "input_image":
        read = _read_image(left)
    elif kind == "input_file":
        read = _read_file(left)
    elif kind == "input_audio":
        read = _read_audio(left)
    return read or OtherPart(format=NAME, value={"content": part})


def _listed(left: Leftover) -> Any:
    return keep(NAME, left.rest, form={"type": left.rest.pop("type")})


def _read_image(left: Leftover) -> Part | None:
    url, identity = left.take("image_url", string), left.take("file_id", string)
    if (url is None) == (identity is None):
        return None
    found = read_data_url(url) if url is not None else None
    return MediaPart(
        kind="image",
        mime_type=found[0] if found else None,
        data=found[1] if found else None,
        url=None if found else url,
        file_id=identity,
        extra=_listed(left),
    )


def _read_file(left: Leftover) -> Part | None:
    keys = ("file_data", "file_url", "file_id", "filename")
    data, url, identity, name = (left.take(key, string) for key in keys)
    if [data, url, identity].count(None) != 2:
        return None
    found = read_data_url(data) if data is not None else None
    return MediaPart(
        kind=kind_of(found[0] if found else None),
        mime_type=found[0] if found else None,
        data=found[1] if found else data,
        url=url,
        file_id=identity,
        name=name,
        extra=keep(NAME, left.rest, form={"type": left.rest.pop("type"), "bare": found is None}),
    )


def _read_audio(left: Leftover) -> Part | None:
    inner = Leftover(left.rest.get("input_audio"))
    data, said = inner.take("data", string), inner.take("format", string)
    if data is None or said is None:
        return None
    del left.rest["input_audio"]
    left.put_back("input_audio", inner.rest)
    return MediaPart(kind="audio", mime_type=audio_type(said, read=True), data=data, extra=_listed(left))


def _read_call(left: Leftover) -> ToolCallPart | None:
    call_id, name, arguments = (left.take(key, string) for key in ("call_id", "name", "arguments"))
    if call_id is None or name is None or arguments is None:
        return None
    del left.rest["type"]
    return ToolCallPart(id=call_id, name=name, arguments=arguments, extra=keep(NAME, left.rest, form="item"))


def _read_result(left: Leftover) -> ToolResultPart | None:
    call_id, output = left.take("call_id", string), left.rest.get("output")
    if call_id is None or not isinstance(output, str | list):
        return None
    del left.rest["type"], left.rest["output"]
    form: Any = "item"
    parts: tuple[Part, ...] = (TextPart(text=output),) if isinstance(output, str) and output else ()
    if isinstance(output, list):
        form = "list"
        parts = tuple(_read_part(part) for part in output)
    return ToolResultPart(call_id=call_id, parts=parts, extra=keep(NAME, left.rest, form=form))


def _read_reasoning(left: Leftover) -> ReasoningPart:
    """Thoughts: as they were summed up, or else as they were thought."""
    sealed = left.take("encrypted_content", string)
    text = _thought(left.rest)
    del left.rest["type"]
    spelled = {key: left.rest.pop(key) for key in ("summary", "content") if key in left.rest}
    return ReasoningPart(text=text, sealed=sealed, extra=keep(NAME, left.rest, form=spelled))


def _thought(fields: Any) -> str:
    for key in ("summary", "content"):
        texts = (string(mapping(part).get("text")) for part in sequence(fields.get(key)))
        if found := [text for text in texts if text]:
            return "\n\n".join(found)
    return ""


def read_output(items: Sequence[Any]) -> tuple[Part, ...]:
    """The parts that a reply's items are."""
    out: list[Part] = []
    for place, item in enumerate(items):
        message = read_item(item)
        content = mapping(item).get("content")
        spoken = mapping(item).get("type") == "message" and isinstance(content, list) and bool(content)
        if not spoken or message.role != "assistant":
            # A message of nobody's, or of nothing, is none of the model's answer, and yet stood there.
            whole = isinstance(form_of(NAME, message.extra), dict)
            out += (OtherPart(format=NAME, value={"item": item}),) if whole else message.parts
            continue
        fields = {key: value for key, value in item.items() if key not in ("type", "content")}
        out += [_placed(part, place, fields) for part in message.parts]
    return tuple(out)


def _placed(part: Part, place: int, fields: Any) -> Part:
    """A part of a reply's message, with the item that it stands in."""
    if isinstance(part, OtherPart):
        return OtherPart(format=NAME, value={**part.value, "of": (place, fields)})
    form = {**form_of(NAME, part.extra), "of": (place, fields)}
    extra = keep(NAME, kept(NAME, part.extra), form=form)
    if isinstance(part, TextPart):
        return TextPart(text=part.text, extra=extra)
    if isinstance(part, RefusalPart):
        return RefusalPart(text=part.text, extra=extra)
    return part


def write_items(messages: Iterable[Message], dropped: list[str]) -> list[Any]:
    """The items that turns are; what is left out is added to ``dropped``."""
    out: list[Any] = []
    for message in messages:
        form = mapping(form_of(NAME, message.extra))
        if message.name is not None:
            dropped.append("messages.name")
        content: list[Part] = []
        written = False
        for part in message.parts:
            item = _write_input(part, dropped)
            if item is None:
                content.append(part)
                continue
            if content:
                out.append(_write_message(message, content, form))
                content = []
            written = True
            out += item
        if content or not written:
            out.append(_write_message(message, content, form))
    return out


def _write_input(part: Part, dropped: list[str]) -> list[Any] | None:
    """What a part is as items of its own; nothing where it is content of a message."""
    if isinstance(part, ReasoningPart) and form_of(NAME, part.extra) is None:
        # Bound to the provider that made it.
        dropped.append("messages.reasoning")
        return []
    if isinstance(part, ToolResultPart):
        if part.is_error:
            dropped.append("messages.is_error")
        return [_write_result(part)]
    if isinstance(part, ReasoningPart | ToolCallPart):
        return [write_item(part)]
    if isinstance(part, OtherPart) and "item" in own(part, NAME):
        return [part.value["item"]]
    return None


def write_item(part: Part) -> dict[str, Any]:
    """A part as an item of its own: a tool call, thoughts, or what only this format has."""
    if isinstance(part, ToolCallPart):
        fields = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        return {**kept(NAME, part.extra), **fields}
    if isinstance(part, ReasoningPart):
        spelled = form_of(NAME, part.extra)
        if not isinstance(spelled, dict) or _thought(spelled) != part.text:
            spelled = {"summary": [{"type": "summary_text", "text": part.text}] if part.text else []}
        sealed = {} if part.sealed is None else {"encrypted_content": part.sealed}
        return {**kept(NAME, part.extra), "type": "reasoning", **spelled, **sealed}
    if isinstance(part, OtherPart) and "item" in own(part, NAME):
        return dict(mapping(part.value["item"]))
    raise UntranslatableError(f"{NAME} has no words for media in a reply")


def _write_result(part: ToolResultPart) -> dict[str, Any]:
    output: Any = ""
    plain = all(isinstance(inner, TextPart) for inner in part.parts)
    if form_of(NAME, part.extra) == "list" or not plain or len(part.parts) > 1:
        output = [_write_part(inner, "input_text") for inner in part.parts]
    elif part.parts and isinstance(part.parts[0], TextPart):
        output = part.parts[0].text
    said = {"type": "function_call_output", "call_id": part.call_id, "output": output}
    return {**kept(NAME, part.extra), **said}


def _write_message(message: Message, parts: Sequence[Part], form: Any) -> dict[str, Any]:
    role = form.get("role", "user" if message.role == "tool" else message.role)
    body: dict[str, Any] = {**kept(NAME, message.extra), "role": role}
    if form.get("typed", False):
        body["type"] = "message"
    first = parts[0] if parts else None
    if first is None:
        body["content"] = form.get("content", "")
    elif len(parts) == 1 and isinstance(first, TextPart) and form_of(NAME, first.extra) is None:
        body["content"] = first.text
    else:
        texts = "output_text" if role == "assistant" else "input_text"
        body["content"] = [_write_part(part, texts) for part in parts]
    return body


def _write_part(part: Part, texts: str) -> Any:
    if isinstance(part, OtherPart):
        return own(part, NAME)["content"]
    form = mapping(form_of(NAME, part.extra))
    if isinstance(part, TextPart):
        said: dict[str, Any] = {"type": form.get("type", texts), "text": part.text}
    elif isinstance(part, RefusalPart):
        said = {"type": "refusal", "refusal": part.text}
        if texts == "input_text" and not form:
            said = {"type": texts, "text": part.text}
    elif isinstance(part, MediaPart) and (texts == "input_text" or form):
        said = _write_media(part, form.get("type") or _KINDS.get(part.kind), bare=form.get("bare") is True)
    else:
        raise UntranslatableError(f"{NAME} has no words for media of the model's own")
    if not form and said["type"] == "output_text":
        said["annotations"] = []
    return merged(kept(NAME, part.extra), said)


def _write_media(part: MediaPart, kind: str | None, *, bare: bool) -> dict[str, Any]:
    if kind == "input_image":
        link = part.url if part.data is None else data_url(mime_of(part), part.data)
        said: dict[str, Any] = {"type": kind, "image_url": link, "file_id": file_of(part)}
    elif kind == "input_file":
        said = {"type": kind, "file_url": part.url, "file_id": file_of(part), "filename": part.name}
        if part.data is not None:
            said["file_data"] = part.data if bare else data_url(mime_of(part), part.data)
            if part.name is None and form_of(NAME, part.extra) is None:
                said["filename"] = "document"
    elif kind == "input_audio" and part.data is not None:
        spelled = audio_type(part.mime_type or "audio/wav", read=False)
        return {"type": kind, kind: {"data": part.data, "format": spelled}}
    else:
        raise UntranslatableError(f"{NAME} has no words for {named(part.kind)} given so")
    if part.url is None and part.data is None and part.file_id is None:
        raise UntranslatableError(f"{NAME} has no words for {named(part.kind)} given so")
    return {key: value for key, value in said.items() if value is not None}


def write_output(parts: Iterable[Part], seed: str) -> list[Any]:
    """The items of a reply. Those of another format get ids made of ``seed`` and their place."""
    out: list[Any] = []
    last: Any = None
    for part in parts:
        place = _place(part)
        if place is None:
            last = None
            out.append(_identified(write_item(part), seed, len(out), part))
        elif place == last:
            out[-1]["content"].append(_write_part(part, "output_text"))
        else:
            last = place
            content = [_write_part(part, "output_text")]
            out.append({**_message_fields(place, seed, len(out)), "type": "message", "content": content})
    return out


def _place(part: Part) -> Any:
    """The message that a part of a reply stands in: one that was read, or the one that all others share."""
    if isinstance(part, TextPart | RefusalPart):
        return mapping(form_of(NAME, part.extra)).get("of", "new")
    if isinstance(part, OtherPart) and "content" in own(part, NAME):
        return part.value.get("of", "new")
    return None


def _message_fields(place: Any, seed: str, number: int) -> dict[str, Any]:
    if place == "new":
        return {"id": f"msg_{seed}_{number}", "role": "assistant", "status": "completed"}
    return dict(place[1])


def _identified(item: dict[str, Any], seed: str, number: int, part: Part) -> dict[str, Any]:
    if isinstance(part, OtherPart) or form_of(NAME, part.extra) is not None:
        return item
    if isinstance(part, ToolCallPart):
        return {"id": f"fc_{seed}_{number}", "status": "completed", **item}
    return {"id": f"rs_{seed}_{number}", **item}
