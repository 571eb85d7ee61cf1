"""The seam of websockets: real clients, real connections; routed, recorded once, each frame guarded either way."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("websockets.sync.client")

import websockets
import websockets.asyncio.client
import websockets.sync.client

from highflame_middleware import BlockedError, Settings, instrument
from highflame_middleware.errors import UnsupportedError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.sockets import SocketServer, listening, live, routing, saying, spoken

Start = Callable[..., Instrumentation]

# An old way of using the blocking client, which the SDKs have.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tell me the SECRET."}]}
CREATE = {"type": "conversation.item.create", "item": ITEM}
TOLD = {"x-stainless-lang": "python"}


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


def talk(kind: str, url: str, *frames: Any, count: int = 7, **options: Any) -> list[Any]:
    """Open a connection of a kind, send some frames, and receive some."""
    written = [frame if isinstance(frame, str | bytes) else json.dumps(frame) for frame in frames]
    if kind == "sync":
        with websockets.sync.client.connect(url, **options) as connection:
            for frame in written:
                connection.send(frame)
            return [connection.recv(timeout=5) for _ in range(count)]

    async def converse() -> list[Any]:
        async with websockets.asyncio.client.connect(url, **options) as connection:
            for frame in written:
                await connection.send(frame)
            return [await asyncio.wait_for(connection.recv(), 5) for _ in range(count)]

    return asyncio.run(converse())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -------------------------------------------------------------------------------------------------------- routing


def test_a_connection_goes_to_the_gateway_and_is_one_record(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    routed(api_key="gateway-key")
    headers = {"Authorization": "Bearer sk-provider", "X-Other": "1"}
    got = talk(kind, live(provider), CREATE, {"type": "response.create"}, additional_headers=headers)
    assert spoken([json.loads(frame) for frame in got]) == "The SECRET is out."
    assert provider.paths == []
    assert gateway.paths == ["/v1/realtime?model=gpt-realtime"]
    assert gateway.headers[0]["authorization"] == "Bearer gateway-key"
    assert gateway.headers[0]["x-other"] == "1"
    assert "traceparent" in gateway.headers[0]
    (span,) = highflame_spans.finished
    assert span.name == "chat gpt-realtime"
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.output_tokens"] == 5
    assert span.attributes["server.port"] == gateway.port


def test_a_connection_of_no_model_is_left_alone(
    kind: str, provider: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    provider.converse = lambda frame: [frame]
    assert talk(kind, live(provider, "/chat/room"), "SECRET", count=1) == ["SECRET"]
    assert provider.paths == ["/chat/room"]
    assert highflame_spans.finished == []


@pytest.mark.parametrize("told", [True, False])
def test_an_unknown_host_is_a_models_only_by_an_sdks_word(
    told: bool, provider: SocketServer, gateway: SocketServer, highflame_spans: CapturedSpans
) -> None:
    """It is guarded and recorded then, and not routed."""
    instrument(
        settings=Settings(
            gateway="openai-compatible", base_url=f"{gateway.url}/v1", guard=FakeGuard(redact=["SECRET"])
        )
    )
    provider.converse = lambda frame: [frame]
    (got,) = talk("sync", live(provider), CREATE, count=1, additional_headers=TOLD if told else {})
    assert gateway.paths == []
    assert len(provider.paths) == 1
    assert ("SECRET" in got) is not told
    assert len(highflame_spans.finished) == int(told)


def test_what_a_dialect_does_not_carry_goes_to_its_own_host(
    provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    handle = routed(
        gateway="highflame", base_url=f"{gateway.url}/llm/v1", api_key="k", guard=FakeGuard(deny=["x"]), carries=()
    )
    talk("sync", live(provider), CREATE, count=0)
    assert provider.ended.wait(5)
    assert (len(provider.paths), gateway.paths) == (1, [])
    assert handle.status()["websockets"].direct == ("websocket-openai-realtime",)


def test_what_a_dialect_does_not_carry_is_refused_where_that_is_the_policy(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    routed(gateway="highflame", base_url=f"{gateway.url}/llm/v1", api_key="k", on_unsupported="refuse", carries=())
    with pytest.raises(UnsupportedError):
        talk(kind, live(provider), CREATE, count=0)
    assert (provider.paths, gateway.paths) == ([], [])


def test_azure_goes_as_an_openai(provider: SocketServer, gateway: SocketServer, routed: Start) -> None:
    routed()
    path = "/openai/realtime?api-version=2024-10-01-preview&deployment=gpt"
    talk("sync", live(provider, path), CREATE, count=0, additional_headers={"api-key": "az"})
    assert gateway.ended.wait(5)
    assert gateway.paths == ["/v1/realtime?deployment=gpt"]


def test_no_connection_is_one_failed_record(kind: str, routed: Start, highflame_spans: CapturedSpans) -> None:
    routed(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(OSError, match=r"refused|111"):
        talk(kind, "ws://127.0.0.1:9/v1/realtime", count=0)
    (span,) = highflame_spans.finished
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ConnectionRefusedError"


def test_all_is_put_back(routed: Start) -> None:
    module = websockets.sync.client
    owners = [websockets.asyncio.client.connect, module, getattr(module, "reconnect", module)]
    before = [dict(vars(owner)) for owner in owners]
    handle = routed()
    assert [dict(vars(owner)) for owner in owners] != before
    handle.uninstrument()
    assert [dict(vars(owner)) for owner in owners] == before


def test_the_signature_stays(routed: Start) -> None:
    before = inspect.signature(websockets.asyncio.client.connect)
    routed()
    assert inspect.signature(websockets.asyncio.client.connect) == before


# --------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("window", [True, False])
def test_frames_are_redacted_either_way(
    kind: str, window: bool, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    guard: Any = FakeGuard(redact=["SECRET"])
    routed(guard=guard if window else (lambda request: guard.evaluate(request)))
    got = talk(kind, live(provider), CREATE, {"type": "response.create"})
    assert spoken([json.loads(frame) for frame in got]) == "The [redacted] is out."
    assert gateway.events[0]["item"]["content"][0]["text"] == "Tell me the [redacted]."
    assert gateway.events[0]["item"]["role"] == "user"
    assert all(isinstance(frame, str) for frame in got + gateway.frames)


@pytest.mark.parametrize(
    "event",
    [
        CREATE,
        {"type": "session.update", "session": {"instructions": "the SECRET"}},
        {"type": "session.update", "session": {"tools": [{"name": "f", "description": "the SECRET"}]}},
        {"type": "response.create", "response": {"instructions": "the SECRET"}},
        {"type": "response.create", "response": {"input": [ITEM]}},
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": "the SECRET"}},
        {"type": "an.event.never.seen", "something": ["the SECRET"]},
        "the SECRET, and no JSON",
    ],
)
def test_a_denied_frame_is_not_sent(
    event: Any, kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        talk(kind, live(provider), {"type": "input_audio_buffer.clear"}, event, count=0)
    gateway.ended.wait(5)
    assert [json.loads(frame)["type"] for frame in gateway.frames] == ["input_audio_buffer.clear"]


def test_after_a_denied_frame_the_connection_goes_on(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    gateway.converse = lambda frame: [frame]
    fine = json.dumps({"type": "response.create", "response": {"instructions": "fine"}})

    def blocking() -> Any:
        with websockets.sync.client.connect(live(provider)) as connection:
            with pytest.raises(BlockedError):
                connection.send(json.dumps(CREATE))
            connection.send(fine)
            return connection.recv(timeout=5)

    async def awaited() -> Any:
        async with websockets.asyncio.client.connect(live(provider)) as connection:
            with pytest.raises(BlockedError):
                await connection.send(json.dumps(CREATE))
            await connection.send(fine)
            return await connection.recv()

    assert (blocking() if kind == "sync" else asyncio.run(awaited())) == fine


def test_a_denied_text_is_not_read_and_the_connection_is_closed(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.converse = saying("All is ", "OUT.")
    routed(guard=FakeGuard(deny=["OUT"]))
    got: list[Any] = []

    def blocking() -> None:
        with websockets.sync.client.connect(live(provider)) as connection:
            connection.send(json.dumps({"type": "response.create"}))
            got.extend(connection)

    async def awaited() -> None:
        async with websockets.asyncio.client.connect(live(provider)) as connection:
            await connection.send(json.dumps({"type": "response.create"}))
            async for frame in connection:
                got.append(frame)

    with pytest.raises(BlockedError) as caught:
        blocking() if kind == "sync" else asyncio.run(awaited())
    assert caught.value.stage.label == "response"
    assert "OUT" not in str(got)
    assert gateway.ended.wait(5)
    assert gateway.codes == [1008]
    (span,) = highflame_spans.finished
    assert span.attributes is not None
    assert str(span.attributes["error.type"]).endswith("BlockedError")


def test_arguments_are_held_until_they_are_whole(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    place = {"response_id": "r", "item_id": "i", "output_index": 0}
    item = {"id": "i", "type": "function_call", "name": "send", "arguments": ""}
    gateway.converse = lambda frame: [
        {"type": "response.output_item.added", "response_id": "r", "item": item},
        {"type": "response.function_call_arguments.delta", **place, "delta": '{"to": "SEC'},
        {"type": "response.function_call_arguments.delta", **place, "delta": 'RET"}'},
        {"type": "response.function_call_arguments.done", **place, "arguments": '{"to": "SECRET"}'},
    ]
    guard = FakeGuard(deny=["SECRET"])
    routed(guard=guard)
    with pytest.raises(BlockedError) as caught:
        talk(kind, live(provider), {"type": "response.create"}, count=4)
    assert caught.value.stage.label == "tool call"


def test_sound_passes_in_its_place(kind: str, provider: SocketServer, gateway: SocketServer, routed: Start) -> None:
    """Binary frames, and sound inside of JSON, are not judged, and overtake nothing."""
    sound = bytes(range(256))
    audio = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "SECRET=="}
    place = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    gateway.converse = lambda frame: [
        {"type": "response.output_audio_transcript.delta", **place, "delta": "the SEC"},
        sound,
        b"{not json",
        audio,
        {"type": "response.output_audio_transcript.done", **place, "transcript": "the SEC"},
    ]
    routed(guard=FakeGuard(redact=["SECRET", "the SEC"]))
    appended = {"type": "input_audio_buffer.append", "audio": "SECRET"}
    got = talk(kind, live(provider), appended, count=5)
    assert [frame if isinstance(frame, bytes) else json.loads(frame)["type"] for frame in got] == [
        "response.output_audio_transcript.delta",
        sound,
        b"{not json",
        "response.output_audio.delta",
        "response.output_audio_transcript.done",
    ]
    assert json.loads(got[0])["delta"] == "[redacted]"
    assert json.loads(got[3]) == audio
    assert gateway.events == [appended]
    talk(kind, live(provider), sound, count=1)
    assert gateway.frames[-1] == sound


def test_json_in_binary_frames_is_guarded(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    gateway.converse = lambda frame: [json.dumps(event).encode() for event in saying("the SECRET")(frame.decode())]
    routed(guard=FakeGuard(redact=["SECRET"]))
    got = talk(kind, live(provider), json.dumps({"type": "response.create"}).encode(), count=5)
    assert all(isinstance(frame, bytes) for frame in got)
    assert spoken([json.loads(frame) for frame in got]) == "the [redacted]"


def test_in_monitor_everything_passes_and_is_recorded(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]), mode="monitor")
    got = talk(kind, live(provider), CREATE, {"type": "response.create"})
    assert spoken([json.loads(frame) for frame in got]) == "The SECRET is out."
    assert gateway.events[0] == CREATE
    (span,) = highflame_spans.finished
    stages = [event.attributes["highflame.guardrail.stage"] for event in span.events if event.attributes]
    assert len(stages) == 2, "the prompt, and the reply once however often it was said"


def test_texts_still_held_at_the_end_are_read(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    delta = {"type": "response.output_text.delta", "response_id": "r", "item_id": "i", "delta": "the SECRET"}
    gateway.converse, gateway.closes = (lambda frame: [delta]), True
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=lambda request: guard.evaluate(request))
    (got,) = talk(kind, live(provider), {"type": "response.create"}, count=1)
    assert json.loads(got)["delta"] == "the [redacted]"


def test_fragments_are_judged_as_one_frame(
    kind: str, provider: SocketServer, gateway: SocketServer, routed: Start
) -> None:
    routed(guard=FakeGuard(redact=["SECRET"]))
    written = json.dumps(CREATE)
    pieces = [written[:70], written[70:90], written[90:]]

    def blocking() -> None:
        with websockets.sync.client.connect(live(provider)) as connection:
            connection.send(iter(pieces))

    async def awaited() -> None:
        async def one_by_one() -> Any:
            for piece in pieces:
                yield piece

        async with websockets.asyncio.client.connect(live(provider)) as connection:
            await connection.send(one_by_one())
            await connection.send(pieces)

    blocking() if kind == "sync" else asyncio.run(awaited())
    gateway.ended.wait(5)
    assert gateway.events
    assert {event["item"]["content"][0]["text"] for event in gateway.events} == {"Tell me the [redacted]."}


async def test_a_cancelled_recv_loses_nothing(provider: SocketServer, gateway: SocketServer, routed: Start) -> None:
    asked = asyncio.Event()

    async def slow(request: Any) -> bool:
        asked.set()
        await asyncio.sleep(0.2)
        return True

    routed(guard=slow)
    async with websockets.asyncio.client.connect(live(provider)) as connection:
        await connection.send(json.dumps({"type": "response.create"}))
        got = [await connection.recv()]
        reading = asyncio.ensure_future(connection.recv())
        await asyncio.wait_for(asked.wait(), 5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while len(got) < 7:
            got.append(await asyncio.wait_for(connection.recv(), 5))
    assert spoken([json.loads(frame) for frame in got]) == "The SECRET is out."


def test_a_connection_may_go_on_for_ever(provider: SocketServer, gateway: SocketServer, routed: Start) -> None:
    """Far beyond what is remembered, response after response, and each is judged."""
    gateway.converse = saying("x" * 50_000 + " the SEC", "RET")
    routed(guard=FakeGuard(redact=["SECRET"]))
    with websockets.sync.client.connect(live(provider), max_size=None) as connection:
        for _ in range(12):
            connection.send(json.dumps({"type": "response.create"}))
            events = [json.loads(connection.recv(timeout=10)) for _ in range(6)]
            assert spoken(events).endswith(" the [redacted]")


def test_a_dropped_connection_is_recorded(
    provider: SocketServer, gateway: SocketServer, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.closes = True
    routed()
    connection = websockets.sync.client.connect(live(provider))
    connection.__enter__() if hasattr(connection, "connect") else None
    connection.send("{}")
    gateway.ended.wait(5)
    connection.recv_events_thread.join(5)
    assert highflame_spans.finished == []
    del connection
    gc.collect()
    assert len(highflame_spans.finished) == 1
