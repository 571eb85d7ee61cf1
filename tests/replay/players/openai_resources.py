"""How recorded calls of OpenAI's other resources are made again: which method of the SDK, by method and path."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import openai

from tests.replay.records import Record

__all__ = ["Made", "made"]

_FILE = ("a.txt", b"Paris is the capital of France.")


@dataclass(frozen=True)
class _Way:
    """``named`` are fields of the body that the SDK wants by name, with what stands in where there is none."""

    method: str
    pattern: str
    target: str
    named: Mapping[str, Any] = field(default_factory=dict)


# What a recording has as a form has no body here: what is sent instead is the same each time.
_WAYS: tuple[_Way, ...] = (
    _Way("POST", r"/images/generations", "images.generate", {"prompt": "x"}),
    _Way("POST", r"/assistants", "beta.assistants.create", {"model": "m"}),
    _Way("GET", r"/assistants/(?P<assistant_id>[^/]+)", "beta.assistants.retrieve"),
    _Way("POST", r"/threads", "beta.threads.create"),
    _Way(
        "POST",
        r"/threads/(?P<thread_id>[^/]+)/messages",
        "beta.threads.messages.create",
        {"role": "user", "content": "x"},
    ),
    _Way("GET", r"/threads/(?P<thread_id>[^/]+)/messages", "beta.threads.messages.list"),
    _Way("POST", r"/threads/(?P<thread_id>[^/]+)/runs", "beta.threads.runs.create", {"assistant_id": "a"}),
    _Way("GET", r"/threads/(?P<thread_id>[^/]+)/runs/(?P<run_id>[^/]+)", "beta.threads.runs.retrieve"),
    _Way(
        "POST",
        r"/threads/(?P<thread_id>[^/]+)/runs/(?P<run_id>[^/]+)/submit_tool_outputs",
        "beta.threads.runs.submit_tool_outputs",
        {"tool_outputs": []},
    ),
    _Way("POST", r"/conversations", "conversations.create"),
    _Way("DELETE", r"/conversations/(?P<conversation_id>[^/]+)", "conversations.delete"),
    _Way("POST", r"/responses/compact", "responses.compact", {"model": "m"}),
    _Way("POST", r"/responses/input_tokens", "responses.input_tokens.count"),
    _Way("GET", r"/responses/(?P<response_id>[^/]+)", "responses.retrieve"),
    _Way("POST", r"/vector_stores", "vector_stores.create"),
    _Way("DELETE", r"/vector_stores/(?P<vector_store_id>[^/]+)", "vector_stores.delete"),
    _Way(
        "POST", r"/vector_stores/(?P<vector_store_id>[^/]+)/files", "vector_stores.files.create", {"file_id": "f"}
    ),
    _Way("POST", r"/files", "files.create", {"file": _FILE, "purpose": "assistants"}),
    _Way("DELETE", r"/files/(?P<file_id>[^/]+)", "files.delete"),
    _Way("POST", r"/realtime/client_secrets", "realtime.client_secrets.create"),
    _Way("POST", r"/realtime/calls", "realtime.calls.create", {"sdp": "v=0", "session": {"type": "realtime"}}),
)


@dataclass(frozen=True)
class Made:
    """A record's call: the SDK's method, by its path from a client, and what it is given."""

    target: str
    arguments: dict[str, Any]

    def of(self, client: Any, wrapped: str = "") -> Any:
        """Make the call; ``wrapped`` is ``with_raw_response`` or the like."""
        *resources, name = self.target.split(".")
        owner = client
        for step in (*resources, *filter(None, (wrapped,))):
            owner = getattr(owner, step)
        with warnings.catch_warnings():
            # Much of this is deprecated in newer versions.
            warnings.simplefilter("ignore", DeprecationWarning)
            return getattr(owner, name)(**self.arguments)


def made(record: Record) -> Made | None:
    """How a record's call is made, or nothing where the SDK has no method for it."""
    path = re.sub(r"^.*?/v1(?=/)", "", urlsplit(record.url).path)
    for way in _WAYS:
        found = re.fullmatch(way.pattern, path) if way.method == record.method and _has(way.target) else None
        if found is not None:
            body = dict(record.body) if isinstance(record.body, dict) else {}
            streams = {"stream": True} if record.stream else {}
            body.pop("stream", None)
            named = {name: body.pop(name, absent) for name, absent in way.named.items()}
            extra = {"extra_body": body} if body else {}
            return Made(way.target, {**found.groupdict(), **named, **streams, **extra})
    return None


@cache
def _has(target: str) -> bool:
    owner: Any = openai.OpenAI(api_key="k")
    for step in target.split("."):
        owner = getattr(owner, step, None)
    return owner is not None
