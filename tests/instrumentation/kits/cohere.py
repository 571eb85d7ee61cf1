"""The ways of calling the Cohere SDK, once each."""

from __future__ import annotations

import inspect
from typing import Any
from urllib.parse import urlsplit

import cohere
from cohere import base_client
from cohere.environment import ClientEnvironment

try:
    from cohere.v2 import client as v2_client
except ImportError:  # the first versions of 5
    v2_client = base_client

from tests.instrumentation.kits import PROMPT, Case, Kit
from tests.instrumentation.kits.cohere_server import speaking

__all__ = ["KIT"]

_MESSAGES: Any = [{"role": "user", "content": PROMPT}]
_V2 = "v2.chat"


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind, which has the newer API as ``v2``."""
    cls = cohere.AsyncClient if kind == "async" else cohere.Client
    # The older versions count the API's version to the base URL.
    path = urlsplit(ClientEnvironment.PRODUCTION.value).path
    return cls(**{"api_key": "k", "base_url": f"{url}{path}", **options})


def _texts(events: list[Any]) -> str:
    return "".join(event.delta.message.content.text or "" for event in events if event.type == "content-delta")


def _pieces(events: list[Any]) -> str:
    # An event that lacks a field which the API is said to send stays the JSON that it was.
    plain = [event if isinstance(event, dict) else event.dict() for event in events]
    return "".join(event["text"] for event in plain if event["event_type"] == "text-generation")


CASES: dict[str, Case] = {
    "v2 chat": Case(lambda c: c.v2.chat(model="m", messages=_MESSAGES), lambda r: r.message.content[0].text, _V2),
    "v2 chat stream": Case(lambda c: c.v2.chat_stream(model="m", messages=_MESSAGES), _texts, _V2),
    "v2 chat more": Case(
        lambda c: c.v2.chat(
            model="m", messages=[], request_options={"additional_body_parameters": {"messages": _MESSAGES}}
        ),
        lambda r: r.message.content[0].text,
        _V2,
    ),
    "v2 chat raw": Case(
        lambda c: c.v2.with_raw_response.chat(model="m", messages=_MESSAGES),
        lambda r: r.data.message.content[0].text,
        "v2.with_raw_response",
    ),
    "v2 embed": Case(
        lambda c: c.v2.embed(model="m", texts=[PROMPT], input_type="search_query", embedding_types=["float"]),
        needs="v2.embed",
    ),
    "v2 rerank": Case(lambda c: c.v2.rerank(model="m", query=PROMPT, documents=["The SECRET."]), needs="v2.rerank"),
    "chat": Case(lambda c: c.chat(message=PROMPT), lambda r: r.text),
    "chat again": Case(lambda c: c.chat(message=PROMPT), lambda r: r.chat_history[1].message),
    "chat stream": Case(lambda c: c.chat_stream(message=PROMPT), _pieces),
    "chat stream's end": Case(lambda c: c.chat_stream(message=PROMPT), lambda events: events[-1].response.text),
    "generate": Case(lambda c: c.generate(prompt=PROMPT), lambda r: r.generations[0].text),
    "generate stream": Case(lambda c: c.generate_stream(prompt=PROMPT), _pieces),
    "rerank": Case(lambda c: c.rerank(model="m", query=PROMPT, documents=["The SECRET."])),
    "summarize": Case(lambda c: c.summarize(text=PROMPT), lambda r: r.summary, "summarize"),
}

# Where everything that goes wrong with an event is swallowed, so is the closing of the generator that reads them.
_CLOSING = all(" except:" not in inspect.getsource(module) for module in (base_client, v2_client))

KIT = Kit(sdk="cohere", make=make, cases=CASES, speaking=speaking, closing=_CLOSING)
