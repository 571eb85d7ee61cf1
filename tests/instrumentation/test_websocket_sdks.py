"""The SDKs that speak over websockets, each with its real client: routed, recorded once, guarded either way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

pytest.importorskip("websockets.sync.client")

import websockets.sync.client

from highflame_middleware import BlockedError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.sockets import SocketServer, listening, live, routing, saying

Start = Callable[..., Instrumentation]

# An old way of using the blocking client, which the SDKs have.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tell me the SECRET."}]}
CREATE = {"type": "conversation.item.create", "item": ITEM}


@pytest.fixture
def provider() -> Iterator[SocketServer]:
    with listening() as server:
        yield server


@pytest.fixture
def gateway() -> Iterator[SocketServer]:
    with listening() as server:
        server.converse = saying("The SEC", "RET is", " out.")
        yield server


@pytest.fixture
def routed(gateway: SocketServer) -> Start:
    return routing(gateway)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def openai_client(kind: str, server: SocketServer) -> Any:
    openai = pytest.importorskip("openai")
    cls = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
    return cls(api_key="sk-provider", base_url=f"{server.url}/v1")


def converse(kind: str, connecting: Any, *events: Any, until: str) -> list[Any]:
    """Talk over an SDK's connection until an event of a type has come."""
    got: list[Any] = []
    if kind == "sync":
        with connecting as connection:
            for event in events:
                connection.send(event)
            for received in connection:
                got.append(received)
                if received.type == until:
                    return got

    async def talking() -> list[Any]:
        async with connecting as connection:
            for event in events:
                await connection.send(event)
            async for received in connection:
                got.append(received)
                if received.type == until:
                    break
        return got

    return asyncio.run(talking())


def test_openai_realtime(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    client = openai_client(kind, provider)
    if not hasattr(client, "realtime"):
        pytest.skip("this version has no realtime")
    routed(guard=FakeGuard(redact=["SECRET"]))
    connecting = client.realtime.connect(model="gpt-realtime")
    got = converse(kind, connecting, CREATE, {"type": "response.create"}, until="response.done")
    assert "".join(event.delta for event in got if event.type == "response.output_text.delta") == (
        "The [redacted] is out."
    )
    assert provider.paths == []
    assert gateway.paths == ["/v1/realtime?model=gpt-realtime"]
    assert b"SECRET" not in json.dumps(gateway.events).encode()
    assert len(highflame_spans.finished) == 1


def test_openai_realtime_denied(kind: str, provider: SocketServer, gateway: SocketServer, routed: Start) -> None:
    client = openai_client(kind, provider)
    if not hasattr(client, "realtime"):
        pytest.skip("this version has no realtime")
    routed(guard=FakeGuard(deny=["SECRET"]))
    connecting = client.realtime.connect(model="gpt-realtime")
    with pytest.raises(BlockedError):
        converse(kind, connecting, {"type": "response.create"}, until="response.done")
    with pytest.raises(BlockedError):
        converse(kind, client.realtime.connect(model="gpt-realtime"), CREATE, until="response.done")


def test_openai_responses(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    client = openai_client(kind, provider)
    if not hasattr(client, "responses") or not hasattr(client.responses, "connect"):
        pytest.skip("this version has no websocket mode")
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "The SECRET is out.", "annotations": []}
    item = {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
    gateway.converse = lambda frame: [
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in ("The SEC", "RET is out.")),
        {"type": "response.output_text.done", **place, "text": "The SECRET is out."},
        {"type": "response.completed", "response": response},
    ]
    routed(guard=FakeGuard(redact=["SECRET"]))
    asked = {"type": "response.create", "model": "m", "input": "the SECRET", "instructions": "no SECRET"}
    got = converse(kind, client.responses.connect(), asked, until="response.completed")
    assert got[-1].response.output[0].content[0].text == "The [redacted] is out."
    assert "SECRET" not in str(got)
    assert gateway.paths == ["/v1/responses"]
    (sent,) = gateway.events
    assert (sent["input"], sent["instructions"], sent["model"]) == ("the [redacted]", "no [redacted]", "m")
    assert len(highflame_spans.finished) == 1


def test_lanes_of_one_connection_are_texts_of_their_own(
    provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    """Two responses at once: neither's pieces are taken for the other's."""

    def said(lane: str, kind: str, **fields: Any) -> dict[str, Any]:
        place = {"item_id": lane, "output_index": 0, "content_index": 0}
        return {"type": f"response.{kind}", "stream_id": lane, **place, **fields}

    gateway.converse = lambda frame: [
        said("a", "output_text.delta", delta="the SEC"),
        said("b", "output_text.delta", delta="and "),
        said("b", "completed", response={"id": "b", "output": []}),
        said("a", "output_text.delta", delta="RET"),
        said("a", "completed", response={"id": "a", "output": []}),
    ]
    routed(guard=FakeGuard(redact=["SECRET"]))
    with websockets.sync.client.connect(live(provider, "/v1/responses")) as connection:
        connection.send(json.dumps(CREATE))
        got = [json.loads(connection.recv(timeout=5)) for _ in range(5)]
    lanes: dict[str, str] = {}
    for event in got:
        lanes[event["stream_id"]] = lanes.get(event["stream_id"], "") + event.get("delta", "")
    assert lanes == {"a": "the [redacted]", "b": "and "}


def test_google_live(
    provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    """No dialect carries it unless it is said to: then it goes there, without the TLS that it was to have."""
    try:
        genai = import_module("google.genai")
    except ImportError:
        pytest.skip("google-genai is not installed")

    def converse(frame: Any) -> list[Any]:
        said = json.loads(frame)
        if "setup" in said:
            return [b'{"setupComplete": {}}']
        parts = [
            {"serverContent": {"modelTurn": {"parts": [{"text": text}]}}} for text in ("The SEC", "RET is out.")
        ]
        return [json.dumps(event).encode() for event in (*parts, {"serverContent": {"turnComplete": True}})]

    gateway.converse = converse
    routed(guard=FakeGuard(redact=["SECRET"]), carries=("websocket-gemini-live",))
    client = genai.Client(
        api_key="k", http_options={"base_url": f"{provider.url}", "api_version": "v1beta"}, vertexai=False
    )

    async def talking() -> str:
        said = ""
        config = {"response_modalities": ["TEXT"], "system_instruction": "Keep the SECRET."}
        async with client.aio.live.connect(model="gemini-live", config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "Tell me the SECRET."}]})
            async for message in session.receive():
                said += message.text or ""
        return said

    assert asyncio.run(talking()) == "The [redacted] is out."
    assert provider.paths == []
    assert len(gateway.paths) == 1
    assert b"SECRET" not in json.dumps(gateway.events).encode()
    assert b"[redacted]" in json.dumps(gateway.events[0]).encode()
    assert len(highflame_spans.finished) == 1
