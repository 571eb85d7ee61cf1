"""The in-process transport is a network without a socket: for httpx and httpx2, blocking and not, as it comes."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import httpx
import openai
import pytest

from highflame_middleware import Gateway
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.gateway_kit import ASK, BACKENDS, asking, events_of, said
from tests.servers import Answer, Server, chunk, events, json_answer, running, stream_answer

# On trio, a generator inside httpx that nobody can reach is left to the collector when a reply is left early.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

KINDS = ["blocking", "asyncio", "trio"]
STREAM = asking("Hi!", stream=True)


@pytest.fixture(params=["httpx", "httpx2"])
def module(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


def gateway_to(server: Server, **options: Any) -> Gateway:
    provider = {"base_url": f"{server.url}/v1", "timeout": options.pop("timeout", 5.0)}
    return Gateway(providers={"up": provider}, **{"guard": None, **options})


class Reader:
    """One client of a kind and library on a gateway, used alike."""

    def __init__(self, module: Any, kind: str, gateway: Gateway) -> None:
        self._module, self._kind, self._gateway = module, kind, gateway

    def post(self, body: Any, **options: Any) -> Any:
        """A whole reply."""
        return self.read(body, lambda response, chunks: response, **options)[0]

    def read(
        self, body: Any, seen: Callable[[Any, list[bytes]], Any], *, stop_after: int | None = None, **options: Any
    ) -> tuple[Any, list[bytes]]:
        """Read a reply chunk by chunk; ``seen`` is told of each chunk. Gives the response and the chunks."""
        options = {"method": "POST", "url": "/chat/completions", "json": body, **options}
        chunks: list[bytes] = []
        if self._kind == "blocking":
            client = self._module.Client(transport=self._gateway.transport(self._module), base_url="http://gw/v1")
            with client, client.stream(**options) as response:
                for piece in response.iter_raw():
                    chunks.append(piece)
                    seen(response, chunks)
                    if len(chunks) == stop_after:
                        break
            self._gateway.close()
            return response, chunks

        async def run() -> Any:
            transport = self._gateway.transport(self._module)
            client = self._module.AsyncClient(transport=transport, base_url="http://gw/v1")
            try:
                async with client, client.stream(**options) as response:
                    async with aclosing(response.aiter_raw()) as pieces:
                        async for piece in pieces:
                            chunks.append(piece)
                            seen(response, chunks)
                            if len(chunks) == stop_after:
                                break
            finally:
                await self._gateway.aclose()
            return response

        return anyio.run(run, backend=self._kind), chunks

    def whole(self, body: Any, **options: Any) -> Any:
        """A reply read as `Client.request` reads it."""
        options = {"method": "POST", "url": "/chat/completions", "json": body, **options}
        if self._kind == "blocking":
            transport = self._gateway.transport(self._module)
            with self._module.Client(transport=transport, base_url="http://gw/v1") as client:
                response = client.request(**options)
            self._gateway.close()
            return response

        async def run() -> Any:
            transport = self._gateway.transport(self._module)
            try:
                async with self._module.AsyncClient(transport=transport, base_url="http://gw/v1") as client:
                    return await client.request(**options)
            finally:
                await self._gateway.aclose()

        return anyio.run(run, backend=self._kind)


def ignore(response: Any, chunks: list[bytes]) -> None:
    """Nothing to be told."""


def test_a_reply_arrives(module: Any, kind: str, upstream: Server) -> None:
    response = Reader(module, kind, gateway_to(upstream)).whole(asking())
    assert response.json()["choices"][0]["message"]["content"] == "Hello from the server."
    assert response.elapsed.total_seconds() > 0
    assert str(response.request.url) == "http://gw/v1/chat/completions"


@pytest.mark.parametrize("guarded", [False, True], ids=["no guard", "guard"])
def test_the_first_chunk_arrives_before_the_last_is_there(
    module: Any, kind: str, guarded: bool, upstream: Server
) -> None:
    """The upstream does not even make its second event before the first has been read."""
    first_read = threading.Event()
    late: list[bool] = []

    def pieces() -> Iterator[bytes]:
        whole = events(chunk("One. ", finish="stop"), chunk("Two.", index=1))
        yield whole[0]
        late.append(not first_read.wait(5))
        yield from whole[1:]

    upstream.respond = stream_answer(pieces())
    gateway = gateway_to(upstream, guard=FakeGuard() if guarded else None)
    response, chunks = Reader(module, kind, gateway).read(STREAM, lambda *_: first_read.set())
    assert late == [False]
    assert b"".join(chunks) == b"".join(events(chunk("One. ", finish="stop"), chunk("Two.", index=1)))
    assert response.elapsed.total_seconds() > 0


@pytest.mark.parametrize("guarded", [False, True], ids=["no guard", "guard"])
def test_closing_early_leaves_the_upstream_at_once(module: Any, kind: str, guarded: bool, upstream: Server) -> None:
    upstream.respond = stream_answer(events(chunk("One.", finish="stop"), done=False), hang=True)
    gateway = gateway_to(upstream, guard=FakeGuard() if guarded else None)
    Reader(module, kind, gateway).read(STREAM, ignore, stop_after=1)
    assert upstream.left.wait(1)


def test_a_reply_that_is_dropped_leaves_the_upstream(module: Any, upstream: Server) -> None:
    upstream.respond = stream_answer(events(chunk("One.", finish="stop"), done=False), hang=True)
    gateway = gateway_to(upstream)
    with module.Client(transport=gateway.transport(module), base_url="http://gw/v1") as client:
        with client.stream("POST", "/chat/completions", json=STREAM):
            pass
        assert upstream.left.wait(1)
    gateway.close()


def test_leaving_while_the_upstream_thinks(kind: str, module: Any, upstream: Server) -> None:
    """A cancelled call closes its connection, not only its wait."""
    if kind == "blocking":
        pytest.skip("a blocking call cannot be left")
    upstream.respond = thinking(upstream)

    async def run() -> float:
        gateway = gateway_to(upstream)
        async with module.AsyncClient(transport=gateway.transport(module), base_url="http://gw/v1") as client:
            with anyio.move_on_after(0.2):
                await client.post("/chat/completions", json=asking())
            begun = time.perf_counter()
            left = await anyio.to_thread.run_sync(upstream.left.wait, 2)
            assert left
        await gateway.aclose()
        return time.perf_counter() - begun

    assert anyio.run(run, backend=kind) < 1


def thinking(upstream: Server) -> Any:
    """An upstream that takes a request and answers nothing: not even a status."""

    def respond(seen: Any) -> Answer:
        return Answer(200, (("content-type", "application/json"),), (), hang=True)

    return respond


# How an upstream fails, by what the gateway's caller gets of it: the HTTP library's own error, sooner or later.
FAULTS: dict[str, tuple[Callable[[Any], Answer] | None, str, int]] = {
    "refused": (None, "ConnectError", 0),
    "cut before the first byte": (lambda _: Answer(200, chunks=[], cut=True), "ReadError", 0),
    "cut in the middle": (stream_answer(events(chunk("One."), done=False), cut=True), "ReadError", 1),
    "silent": (lambda _: Answer(200, chunks=[], hang=True), "ReadTimeout", 0),
    "silent in the middle": (stream_answer(events(chunk("One."), done=False), hang=True), "ReadTimeout", 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_upstreams_faults_are_the_librarys_own_errors(
    name: str, module: Any, kind: str, upstream: Server
) -> None:
    respond, expected, chunks = FAULTS[name]
    gateway = gateway_to(upstream, timeout=0.2)
    if respond is None:
        upstream.close()
    else:
        upstream.respond = respond
    seen: list[bytes] = []
    with pytest.raises(getattr(module, expected)):
        Reader(module, kind, gateway).read(STREAM, lambda _, pieces: seen.append(pieces[-1]))
    assert len(seen) == chunks
    if kind == "blocking":
        gateway.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_sdk_retries_what_it_would_retry_of_a_network(kind: str, upstream: Server) -> None:
    answers = iter([Answer(200, chunks=[], cut=True), Answer(200, chunks=[], cut=True)])
    last = json_answer({"choices": [{"index": 0, "message": {"role": "assistant", "content": "At last."}}]})
    upstream.respond = lambda seen: next(answers, None) or last(seen)
    gateway = gateway_to(upstream)
    reply = via_sdk(kind, gateway, max_retries=2)
    assert reply.choices[0].message.content == "At last."
    assert len(upstream.log) == 3


def via_sdk(kind: str, gateway: Gateway, **options: Any) -> Any:
    """One call through a bare SDK whose HTTP client is the gateway."""
    options = {"api_key": "sk", "base_url": "http://gw/v1", **options}
    messages: Any = ASK["messages"]
    library: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    if kind == "sync":
        http: Any = library.Client(transport=gateway.transport(library))
        with openai.OpenAI(http_client=http, **options) as client:
            try:
                return client.chat.completions.create(model="m", messages=messages)
            finally:
                gateway.close()

    async def run() -> Any:
        http: Any = library.AsyncClient(transport=gateway.transport(library))
        async with openai.AsyncOpenAI(http_client=http, **options) as client:
            try:
                return await client.chat.completions.create(model="m", messages=messages)
            finally:
                await gateway.aclose()

    return anyio.run(run)


def test_a_denied_prompt_is_an_answer(module: Any, kind: str, upstream: Server) -> None:
    response = Reader(module, kind, gateway_to(upstream, guard=FakeGuard(deny=["SECRET"]))).whole(ASK)
    assert response.status_code == 403
    assert response.headers["x-highflame-policy-decision"] == "deny"
    assert response.json()["error"]["code"] == "blocked_deny"
    assert upstream.log == []


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_denied_reply_is_an_answer_too(module: Any, kind: str, stream: bool, upstream: Server) -> None:
    whole = stream_answer(events(chunk("A server", finish="stop")))
    upstream.respond = whole if stream else json_answer({"choices": [{"message": {"content": "A server"}}]})
    gateway = gateway_to(upstream, guard=FakeGuard(deny=["server"]))
    response = Reader(module, kind, gateway).whole(asking(stream=stream))
    assert response.status_code == 403
    assert b"A server" not in response.content


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_sdk_does_not_retry_a_verdict(kind: str, upstream: Server) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        via_sdk(kind, gateway_to(upstream, guard=FakeGuard(deny=["server"])), max_retries=2)
    assert caught.value.code == "blocked_deny"
    assert len(upstream.log) == 1


def test_a_stream_denied_in_the_middle_raises_where_it_is_read(module: Any, kind: str, upstream: Server) -> None:
    from highflame_middleware import BlockedError

    whole = events(chunk("Fine.", finish="stop"), chunk("SECRET", index=1, finish="stop"), done=True)
    upstream.respond = stream_answer(whole, interval=0.02)
    seen: list[bytes] = []
    gateway = gateway_to(upstream, guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        Reader(module, kind, gateway).read(STREAM, lambda _, pieces: seen.append(pieces[-1]))
    assert said(b"".join(seen)) == "Fine."
    if kind == "blocking":
        gateway.close()


def test_a_reply_that_cannot_be_read_is_the_upstreams_fault(module: Any, kind: str, upstream: Server) -> None:
    upstream.respond = json_answer(b"<html>not the API</html>", content_type="text/html")
    response = Reader(module, kind, gateway_to(upstream, guard=FakeGuard())).whole(asking())
    assert (response.status_code, response.json()["error"]["code"]) == (502, "unreadable")


def test_a_redacted_reply_has_the_right_length(module: Any, kind: str, upstream: Server) -> None:
    response = Reader(module, kind, gateway_to(upstream, guard=FakeGuard(redact=["server"]))).whole(asking())
    assert response.json()["choices"][0]["message"]["content"] == "Hello from the [redacted]."
    assert response.headers.get("content-length") in (None, str(len(response.content)))


def test_headers_that_are_not_ascii_pass_both_ways(module: Any, kind: str, upstream: Server) -> None:
    upstream.respond = lambda _: Answer(200, (("content-type", "application/json"), ("x-cafe", "café")), [b"{}"])
    headers = [(b"x-name", "naïve".encode("latin-1"))]
    response = Reader(module, kind, gateway_to(upstream)).whole(asking(), headers=headers)
    assert response.headers["x-cafe"] == "café"
    assert upstream.log[0].headers["x-name"] == "naïve"


@pytest.mark.parametrize("header", [b"a\r\nx-smuggled: 1", b"a\nx-smuggled: 1", b"a\0b"])
def test_a_header_cannot_smuggle_another(header: bytes, module: Any, kind: str, upstream: Server) -> None:
    """A socket's parser would have refused these; here nothing stands between."""
    response = Reader(module, kind, gateway_to(upstream)).whole(asking(), headers=[(b"x-name", header)])
    assert response.status_code == 400
    assert upstream.log == []


def test_a_call_without_a_provider_is_a_404(module: Any, kind: str) -> None:
    gateway = Gateway(providers={"a": {"scripts": []}, "b": {"scripts": []}}, guard=None)
    response = Reader(module, kind, gateway).whole(asking())
    assert response.status_code == 404
    assert "a, b" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_other_calls_pass_as_they_are(body: bytes, module: Any, kind: str, upstream: Server) -> None:
    upstream.respond = json_answer({"object": "list", "data": []})
    response = Reader(module, kind, gateway_to(upstream, guard=FakeGuard())).whole(
        None, method="DELETE", url="/files/f%2F1?a=b%20c", content=body
    )
    assert response.json() == {"object": "list", "data": []}
    assert (upstream.log[0].method, upstream.log[0].path) == ("DELETE", "/v1/files/f%2F1?a=b%20c")


@pytest.mark.parametrize("backend", BACKENDS)
def test_fifty_streams_at_once_do_not_mix(backend: str, module: Any) -> None:
    scripts = [
        {"when": {"contains": f"<{number}>"}, "chunks": [f"{number}-", *["x"] * 8, f"-{number}"], "interval": 0.002}
        for number in range(50)
    ]
    gateway = Gateway(providers={"s": {"scripts": scripts}}, guard=FakeGuard())
    found: dict[int, str] = {}

    async def run() -> None:
        async with module.AsyncClient(transport=gateway.transport(module), base_url="http://gw/v1") as client:

            async def one(number: int) -> None:
                response = await client.post("/chat/completions", json=asking(f"<{number}>", stream=True))
                found[number] = said(response.content)

            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(one, number)

    anyio.run(run, backend=backend)
    assert found == {number: f"{number}-xxxxxxxx-{number}" for number in range(50)}


def test_threads_share_one_client(upstream: Server) -> None:
    gateway = gateway_to(upstream)
    barrier = threading.Barrier(8)
    statuses: list[int] = []

    def work() -> None:
        with httpx.Client(transport=gateway.transport(httpx), base_url="http://gw/v1") as client:
            barrier.wait()
            statuses.append(client.post("/chat/completions", json=asking()).status_code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gateway.close()
    assert statuses == [200] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_connections_of_its_own(upstream: Server) -> None:
    """The parent's kept-alive connection is open in the child as well: two writers would garble it."""
    gateway = gateway_to(upstream)
    ports: list[int] = []
    serve = upstream._serve

    def noting(handler: Any) -> None:
        ports.append(handler.client_address[1])
        serve(handler)

    upstream._serve = noting  # type: ignore[method-assign]

    def call() -> bool:
        with httpx.Client(transport=gateway.transport(httpx), base_url="http://gw/v1") as client:
            return client.post("/chat/completions", json=asking()).status_code == 200

    assert call()
    assert call()
    child = os.fork()
    if child == 0:
        done = False
        try:
            done = call()
        finally:
            os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert call()
    gateway.close()
    parent, again, forked, after = ports
    assert parent == again == after, "the parent keeps its connection"
    assert forked != parent


def test_a_gateway_may_be_used_again_after_close(upstream: Server) -> None:
    gateway = gateway_to(upstream)
    for _ in range(2):
        with httpx.Client(transport=gateway.transport(httpx), base_url="http://gw/v1") as client:
            assert client.post("/chat/completions", json=asking()).status_code == 200
        gateway.close()
    for _ in range(2):
        assert Reader(httpx, "asyncio", gateway).whole(asking()).status_code == 200


def test_the_span_of_a_call_lasts_until_its_reply_is_read(
    module: Any, kind: str, upstream: Server, highflame_spans: CapturedSpans
) -> None:
    upstream.respond = stream_answer(events(chunk("A SECRET.", finish="stop"), chunk("", index=1)))
    gateway = gateway_to(upstream, guard=FakeGuard(redact=["SECRET"]))
    open_while_read: list[bool] = []
    _, chunks = Reader(module, kind, gateway).read(
        STREAM, lambda *_: open_while_read.append(not highflame_spans.finished)
    )
    assert "[redacted]" in said(b"".join(chunks))
    assert open_while_read[0]
    (span,) = highflame_spans.finished
    assert span.attributes["gen_ai.response.id"] == "c1"
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert [made["decision"] for made in highflame_spans.decisions()] == ["modify"]


@pytest.mark.parametrize(
    ("respond", "failed"),
    [
        (json_answer({"error": {"message": "busy"}}, 503), "503"),
        (stream_answer(events(chunk("One."), done=False), cut=True), "highflame_middleware.UpstreamError"),
        (json_answer(b"{"), "highflame_middleware.UnreadableError"),
        (json_answer({"choices": []}), None),
    ],
    ids=["status", "cut", "unreadable", "well"],
)
def test_a_span_says_how_the_call_ended(
    respond: Any, failed: str | None, kind: str, upstream: Server, highflame_spans: CapturedSpans
) -> None:
    upstream.respond = respond
    gateway = gateway_to(upstream, guard=FakeGuard())
    try:
        Reader(httpx, kind, gateway).whole(asking())
    except httpx.TransportError:
        gateway.close()
    (span,) = highflame_spans.finished
    assert span.attributes.get("error.type") == failed


def test_a_stream_left_early_ends_its_span_once(
    module: Any, kind: str, upstream: Server, highflame_spans: CapturedSpans
) -> None:
    upstream.respond = stream_answer(events(chunk("One.", finish="stop"), done=False), hang=True)
    Reader(module, kind, gateway_to(upstream, guard=FakeGuard())).read(STREAM, ignore, stop_after=1)
    (span,) = highflame_spans.finished
    assert "error.type" not in span.attributes


def test_events_are_whole(module: Any, kind: str, upstream: Server) -> None:
    """Pieces of one byte are put together again where they are guarded."""
    whole = b"".join(events(chunk("All is "), chunk("well.", finish="stop")))
    upstream.respond = stream_answer([bytes([byte]) for byte in whole])
    _, chunks = Reader(module, kind, gateway_to(upstream, guard=FakeGuard())).read(STREAM, ignore)
    assert b"".join(chunks) == whole
    assert events_of(chunks[-1])[-1] == "[DONE]"
