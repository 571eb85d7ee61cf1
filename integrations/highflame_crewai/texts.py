"""Where the texts of a model's call stand in CrewAI's terms, and how one is put back.

Prompts are in OpenAI's chat format, whichever provider they are for, and are read by its codec. A reply is a
string, a model of pydantic's, or calls of tools, which every provider's class writes in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from highflame_middleware.checkpoint import Ruling, Text, rendered, text_at
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import edits_of, rewrite
from highflame_middleware.types import Stage

__all__ = ["Calls", "Prompt", "described", "is_calls"]


class Prompt:
    """The messages of a call and its tools, as far as a model reads them."""

    def __init__(self, messages: Any, tools: Any = None) -> None:
        self._whole = isinstance(messages, str)
        said = [{"role": "user", "content": messages}] if self._whole else messages
        self._body = {"messages": said}
        if isinstance(tools, list | tuple) and all(isinstance(tool, dict) for tool in tools):
            self._body["tools"] = tools
        self.texts: tuple[Text, ...] = load_codec("openai-chat").read_call(self._body).texts

    def edited(self, rulings: Sequence[Ruling]) -> dict[str, Any]:
        """``messages`` and ``tools`` as they may be sent; empty where nothing is changed."""
        edits = [
            (text, ruling.text) for text, ruling in zip(self.texts, rulings, strict=True) if ruling.text is not None
        ]
        if not edits:
            return {}
        body = rewrite(self._body, edits_of(edits))
        messages = body["messages"][0]["content"] if self._whole else body["messages"]
        return {"messages": messages, **({"tools": body["tools"]} if "tools" in body else {})}


def described(tools: Any) -> dict[str, str]:
    """What tools are for, by their names."""
    found: dict[str, str] = {}
    for tool in tools if isinstance(tools, list | tuple) else ():
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            found[function["name"]] = str(function.get("description") or "")
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the arguments of one call stand: in an object or a mapping, as JSON or as a string of it."""

    owner: Any
    key: str
    name: str

    @property
    def value(self) -> Any:
        return self.owner[self.key] if isinstance(self.owner, dict) else getattr(self.owner, self.key)

    @property
    def written(self) -> str:
        value = self.value
        if isinstance(value, str):
            return value or "{}"
        return json.dumps(_plain(value), ensure_ascii=False, default=str)

    def put(self, written: str) -> None:
        """Put arguments in place, in the form that those had which stood there."""
        value = written if isinstance(self.value, str) else json.loads(written)
        if isinstance(self.owner, dict):
            self.owner[self.key] = value
        else:
            setattr(self.owner, self.key, value)


class Calls:
    """The calls of tools that a reply asks for."""

    def __init__(self, reply: Sequence[Any]) -> None:
        found = [place_of(call) for call in reply]
        self.places = [place for place in found if place is not None]
        # What cannot be read cannot be guarded.
        self.unread = len(found) - len(self.places)
        self.texts = [
            text_at(Stage.TOOL_CALL, place.written, tool=place.name, is_json=True) for place in self.places
        ]


def is_calls(reply: Any) -> bool:
    """Whether a reply is calls of tools."""
    return isinstance(reply, list) and bool(reply) and any(place_of(call) is not None for call in reply)


def place_of(call: Any) -> _Place | None:
    """Where a call's arguments stand, for each shape that CrewAI takes for one."""
    if isinstance(call, dict):
        function = call.get("function")
        if isinstance(function, dict):
            return _Place(function, "arguments", str(function.get("name") or "")) if "name" in function else None
        for key in ("arguments", "input"):
            if key in call and "name" in call:
                return _Place(call, key, str(call["name"]))
        return None
    if (function := getattr(call, "function", None)) is not None:
        return _Place(function, "arguments", str(getattr(function, "name", "") or ""))
    if (function := getattr(call, "function_call", None)) is not None:
        return _Place(function, "args", str(getattr(function, "name", "") or ""))
    if hasattr(call, "name") and hasattr(call, "input"):
        return _Place(call, "input", str(call.name))
    return None


def _plain(value: Any) -> Any:
    return (
        value.model_dump() if isinstance(value, BaseModel) else dict(value) if isinstance(value, Mapping) else value
    )


def written_reply(reply: Any) -> str:
    """A reply that is neither a string nor calls, as the text that is judged."""
    return reply.model_dump_json() if isinstance(reply, BaseModel) else rendered(reply)
