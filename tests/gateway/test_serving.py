"""The gateway over sockets, served by uvicorn: what callers get, whatever they or their upstream do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest

from highflame_middleware import Gateway
from highflame_middleware.gateway.serving import MAX_BODY
from highflame_middleware.testing import CapturedSpans, FakeGuard, serve_on_thread
from tests.gateway.served import CHAT, gateway_to, post
from tests.gateway_kit import (
    ASK,
    Sent,
    ask,
    asking,
    body_of,
    connected,
    events_of,
    raw_post,
    read_raw,
    reply_bytes,
    said,
    scope_of,
    send_raw,
    serve,
    wire_upstream,
)
from tests.servers import Answer, Seen, Server, chunk, events, json_answer, running, stream_answer

# On trio, a generator inside httpx that nobody can reach is left to the collector when a reply is left early.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")


def test_health_says_who_is_there(plain: str) -> None:
    for path in ("/health", "/health/", "/health?deep=1"):
        response = httpx.get(plain + path)
        assert (response.status_code, response.json()) == (200, {"status": "ok", "providers": ["up"]})


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_sdk_over_the_network(kind: str, served: str) -> None:
    messages: Any = asking()["messages"]

    async def run() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{served}/v1", api_key="sk") as client:
            reply = await client.chat.completions.create(model="m", messages=messages)
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            return reply, [piece async for piece in stream]

    if kind == "sync":
        with openai.OpenAI(base_url=f"{served}/v1", api_key="sk") as client:
            reply = client.chat.completions.create(model="m", messages=messages)
            pieces = list(client.chat.completions.create(model="m", messages=messages, stream=True))
    else:
        reply, pieces = anyio.run(run)
    assert reply.choices[0].message.content == "Hello from the server."
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "Hello from the server."


# What a caller may do wrong: the answer, and that nothing of it reached the upstream.
BAD: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (raw_post(b"/v1/chat/completions", b"not json"), 400, "unreadable"),
    "half a body of JSON": (raw_post(b"/v1/chat/completions", body_of(ASK)[:-1]), 400, "unreadable"),
    "not UTF-8": (raw_post(b"/v1/chat/completions", b'{"model":"\xff"}'), 400, "unreadable"),
    "deeply nested": (raw_post(b"/v1/chat/completions", b"[" * 200_000), 400, "unreadable"),
    "a key twice": (raw_post(b"/v1/chat/completions", b'{"model":"a","model":"b"}'), 400, "unreadable"),
    "another type": (raw_post(b"/v1/chat/completions", body_of(ASK), b"content-type: text/plain"), 415, "bad_type"),
    "a form": (raw_post(b"/v1/embeddings", b"a=b", b"content-type: multipart/form-data"), 415, "bad_type"),
    "an empty type": (raw_post(b"/v1/responses", body_of(ASK), b"content-type: "), 415, "bad_type"),
    "another type, encoded path": (
        raw_post(b"/v1/%63hat/completions", body_of(ASK), b"content-type: text/plain"),
        415,
        "bad_type",
    ),
    "leaves the base URL": (raw_post(b"/v1/../admin", b""), 400, "unreadable"),
    "no path": (raw_post(b"@evil.example/v1/models", b"", method=b"GET"), 400, "unreadable"),
    "unknown provider": (
        raw_post(b"/v1/chat/completions", body_of(asking()), b"x-highflame-provider: nobody"),
        404,
        "no_provider",
    ),
    "declared too long": (
        raw_post(b"/v1/chat/completions", b"{}").replace(
            b"content-length: 2", b"content-length: %d" % (MAX_BODY + 1)
        ),
        413,
        "too_large",
    ),
    "a prompt that is denied": (raw_post(b"/v1/chat/completions", body_of(ASK)), 403, "blocked_deny"),
    "in small letters": (raw_post(b"/v1/chat/completions", body_of(ASK), method=b"post"), 403, "blocked_deny"),
    "with PUT": (raw_post(b"/v1/chat/completions", body_of(ASK), method=b"PUT"), 403, "blocked_deny"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_so_in_openais_shape(name: str, guarded: str, upstream: Server) -> None:
    request, status, code = BAD[name]
    reply = send_raw(guarded, request)
    assert (reply.status, reply.json["error"]["code"]) == (status, code)
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert reply.header(b"content-type") == [b"application/json"]
    assert upstream.log == []


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;x=y"])
def test_every_way_to_say_json(kind: str, guarded: str) -> None:
    response = post(guarded, content=body_of(ASK), headers={"content-type": kind})
    assert response.status_code == 403


def test_a_body_that_turns_out_too_long(monkeypatch: pytest.MonkeyPatch, guarded: str, upstream: Server) -> None:
    monkeypatch.setattr("highflame_middleware.gateway.serving.MAX_BODY", 1000)
    pieces = b"".join(b"64\r\n" + b" " * 100 + b"\r\n" for _ in range(12)) + b"0\r\n\r\n"
    request = raw_post(CHAT.encode(), b"").replace(b"content-length: 0", b"transfer-encoding: chunked") + pieces
    reply = send_raw(guarded, request)
    assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")
    assert upstream.log == []


def test_a_body_in_pieces_of_one_byte(guarded: str, upstream: Server) -> None:
    body = body_of(asking("Hello there."))
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = raw_post(CHAT.encode(), b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    assert send_raw(guarded, head + chunked).status == 200
    assert upstream.log[0].body == body
    assert "transfer-encoding" not in upstream.log[0].headers


def test_a_slow_body_is_waited_for(guarded: str, upstream: Server) -> None:
    body = body_of(ASK)
    request = raw_post(CHAT.encode(), body)
    with connected(guarded) as connection:
        for start in range(0, len(request), 50):
            connection.sendall(request[start : start + 50])
            time.sleep(0.002)
        assert read_raw(connection).status == 403
    assert upstream.log == []


def test_a_caller_who_leaves_before_the_end_of_the_body(guarded: str, upstream: Server) -> None:
    with connected(guarded) as connection:
        connection.sendall(raw_post(CHAT.encode(), body_of(ASK))[:-10])
    assert post(guarded, asking()).status_code == 200
    assert len(upstream.log) == 1


def test_a_great_many_headers() -> None:
    headers = [b"x-many: %d" % number for number in range(2000)]
    with wire_upstream(reply_bytes(b"{}")) as upstream:
        gateway = Gateway(providers={"up": {"base_url": f"{upstream.url}/v1"}}, guard=FakeGuard())
        with serve_on_thread(gateway) as url:
            assert send_raw(url, raw_post(CHAT.encode(), body_of(asking()), *headers)).status == 200
        passed = [value for name, value in upstream.headers if name == b"x-many"]
    assert passed == [b"%d" % number for number in range(2000)]


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_stopped_reply_is_a_denial(stream: bool, guarded: str, upstream: Server) -> None:
    whole = stream_answer(events(chunk("The SECRET", finish="stop")))
    upstream.respond = whole if stream else json_answer({"choices": [{"message": {"content": "The SECRET"}}]})
    response = post(guarded, asking(stream=stream))
    assert response.status_code == 403
    assert response.headers["x-highflame-policy-decision"] == "deny"
    assert response.json()["error"]["code"] == "blocked_deny"
    assert b"SECRET" not in response.content


def test_a_stream_stopped_in_the_middle_says_so_in_band(guarded: str, upstream: Server) -> None:
    whole = events(chunk("Fine.", finish="stop"), chunk("The SECRET", index=1, finish="stop"))
    upstream.respond = stream_answer(whole, interval=0.02)
    response = post(guarded, asking(stream=True))
    assert (response.status_code, said(response.content)) == (200, "Fine.")
    last = events_of(response.content)[-1]
    assert last["error"]["type"] == "highflame_error"
    assert "deny" in last["error"]["message"]
    assert b"SECRET" not in response.content
    assert b"[DONE]" not in response.content


def test_the_sdk_raises_what_is_said_in_band(guarded: str, upstream: Server) -> None:
    whole = events(chunk("Fine.", finish="stop"), chunk("The SECRET", index=1, finish="stop"))
    upstream.respond = stream_answer(whole, interval=0.02)
    with openai.OpenAI(base_url=f"{guarded}/v1", api_key="sk") as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="deny"):
            list(stream)


# How an upstream fails: what its gateway's caller is answered, or what stands at the end of the stream that began.
FAULTS: dict[str, tuple[Callable[[Seen], Answer] | None, int, str]] = {
    "refused": (None, 502, "upstream_failed"),
    "cut before a byte": (lambda _: Answer(200, chunks=[], cut=True), 502, "upstream_failed"),
    "silent": (lambda _: Answer(200, chunks=[], hang=True), 504, "upstream_timeout"),
    "cut": (stream_answer(events(chunk("One."), done=False), cut=True), 200, "stream_failed"),
    "cut in an event": (
        stream_answer([*events(chunk("One."), done=False), b'data: {"choices": [{"del'], cut=True),
        200,
        "stream_failed",
    ),
    "silent in the middle": (stream_answer(events(chunk("One."), done=False), hang=True), 200, "stream_failed"),
}


@pytest.mark.parametrize("guard", [None, "monitor", "enforce"])
@pytest.mark.parametrize("name", FAULTS)
def test_an_upstreams_fault_is_told(name: str, guard: str | None, upstream: Server) -> None:
    respond, status, code = FAULTS[name]
    options = {"guard": FakeGuard(), "mode": guard} if guard else {}
    gateway = gateway_to(upstream, timeout=0.3, **options)
    with running() as elsewhere:
        nobody = gateway_to(elsewhere, **options)
    if respond is not None:
        upstream.respond = respond
    with serve_on_thread(gateway if respond is not None else nobody) as url:
        response = post(url, asking(stream=True))
    # Held text is not passed on when a stream breaks: then nothing has begun, and the status can still tell.
    if guard == "enforce" and status == 200:
        status, code = (504, "upstream_timeout") if "silent" in name else (502, "upstream_failed")
    assert response.status_code == status
    if status == 200:
        assert response.headers["content-type"] == "text/event-stream"
        assert said(response.content) == "One."
        assert events_of(response.content)[-1]["error"]["code"] == code
        assert b"[DONE]" not in response.content
        assert b"[{" not in response.content.replace(b'"choices": [{"index"', b""), "no half an event"
    else:
        assert response.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (json_answer(b"<html>", content_type="text/html"), 502),
        (json_answer(b'{"choices": [{"mess'), 502),
        (json_answer(b"[" * 100_000), 502),
        (json_answer(b'{"error": {"message": "busy", "code": "x"}}', 429, retry_after="3"), 429),
        (json_answer({"choices": []}, 201), 201),
        (json_answer(b"", 204), 204),
    ],
    ids=["HTML", "half", "deep", "an error", "created", "nothing"],
)
def test_a_reply_that_cannot_be_read_is_the_upstreams_fault(
    answer: Any, status: int, guarded: str, upstream: Server
) -> None:
    upstream.respond = answer
    response = post(guarded, asking())
    assert response.status_code == status
    if status == 429:
        assert (response.json()["error"]["code"], response.headers["retry-after"]) == ("x", "3")


def test_a_reply_whose_length_was_a_lie_breaks_off(plain: str, upstream: Server) -> None:
    upstream.respond = lambda _: Answer(200, chunks=[b'{"choices": ['], length=1000, cut=True)
    with pytest.raises(httpx.RemoteProtocolError):
        post(plain, asking())


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_caller_who_leaves_takes_the_upstream_along(stream: bool, served: str, upstream: Server) -> None:
    """Mid-stream, and while nothing has come yet."""
    begun = events(chunk("One. ", finish="stop"), done=False) if stream else []
    arrived = threading.Event()

    def respond(seen: Seen) -> Answer:
        arrived.set()
        return Answer(200, (("content-type", "text/event-stream"),), begun, hang=True)

    upstream.respond = respond
    with connected(served) as connection:
        connection.sendall(raw_post(CHAT.encode(), body_of(asking(stream=stream))))
        assert arrived.wait(2)
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert not upstream.left.is_set()
        left_at = time.perf_counter()
    assert upstream.left.wait(1)
    assert time.perf_counter() - left_at < 1


def test_a_caller_who_leaves_ends_the_span(upstream: Server, highflame_spans: CapturedSpans) -> None:
    upstream.respond = stream_answer(events(chunk("One. ", finish="stop"), done=False), hang=True)
    with serve_on_thread(gateway_to(upstream, guard=FakeGuard())) as url:
        with connected(url) as connection:
            connection.sendall(raw_post(CHAT.encode(), body_of(asking(stream=True))))
            connection.recv(100)
        assert upstream.left.wait(1)
        _eventually(lambda: len(highflame_spans.finished) == 1)


def _eventually(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 2
    while not met():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_first_event_leaves_before_the_second_is_made(served: str, upstream: Server) -> None:
    read = threading.Event()
    late = []

    def pieces() -> Iterator[bytes]:
        whole = events(chunk("One. ", finish="stop"), chunk("Two.", index=1, finish="stop"))
        yield whole[0]
        late.append(not read.wait(5))
        yield from whole[1:]

    upstream.respond = stream_answer(pieces())
    with httpx.stream("POST", served + CHAT, json=asking(stream=True)) as response:
        for piece in response.iter_raw():
            assert piece
            read.set()
    assert late == [False]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH"])
def test_other_methods_pass(method: str, guarded: str, upstream: Server) -> None:
    def respond(seen: Seen) -> Answer:
        content = b"" if method == "HEAD" else b'{"object": "list"}'
        return Answer(200, (("content-type", "application/json"), ("x-up", "1")), [content], length=len(content))

    upstream.respond = respond
    upstream._server.RequestHandlerClass.do_OPTIONS = upstream._server.RequestHandlerClass.do_POST  # type: ignore[attr-defined]
    upstream._server.RequestHandlerClass.do_PATCH = upstream._server.RequestHandlerClass.do_POST  # type: ignore[attr-defined]
    response = httpx.request(method, f"{guarded}/v1/models?limit=2&after=a%2Fb")
    assert (response.status_code, response.headers["x-up"]) == (200, "1")
    assert (upstream.log[0].method, upstream.log[0].path) == (method, "/v1/models?limit=2&after=a%2Fb")


KEY = "gw-key"


@pytest.mark.parametrize(
    ("headers", "admitted", "passed"),
    [
        ({}, False, None),
        ({"authorization": "Bearer wrong"}, False, None),
        ({"authorization": f"Bearer {KEY}x"}, False, None),
        ({"x-highflame-apikey": ""}, False, None),
        ({"x-highflame-apikey": "wrong", "authorization": f"Bearer {KEY}"}, False, None),
        ({"x-highflame-apikey": KEY}, True, None),
        ({"authorization": f"Bearer {KEY}"}, True, None),
        ({"authorization": f"bearer  {KEY}"}, True, None),
        ({"authorization": KEY}, True, None),
        ({"x-api-key": KEY}, True, None),
        ({"api-key": KEY}, True, None),
        ({"x-highflame-apikey": KEY, "authorization": "Bearer sk-mine"}, True, "Bearer sk-mine"),
        ({"x-highflame-apikey": KEY, "authorization": f"Bearer {KEY}"}, True, None),
        ({"authorization": f"Bearer {KEY}", "api-key": KEY, "x-api-key": KEY}, True, None),
    ],
)
def test_keys(headers: dict[str, str], admitted: bool, passed: str | None, upstream: Server) -> None:
    """Whoever has one is let in; the provider gets a credential of the caller's own, and never the gateway's."""
    gateway = gateway_to(upstream, keys=["another", KEY])

    async def run() -> Sent:
        scope = scope_of(path=CHAT, headers=headers.items())
        sent = await serve(gateway, scope, [body_of(asking())])
        await gateway.aclose()
        return sent

    sent = anyio.run(run)
    assert sent.status == (200 if admitted else 401)
    if not admitted:
        assert sent.json["error"]["code"] == "invalid_key"
        assert KEY.encode() not in sent.body
        assert upstream.log == []
    else:
        assert upstream.log[0].headers.get("authorization") == passed
        assert KEY not in str(upstream.log[0].headers)


def test_health_needs_no_key(upstream: Server) -> None:
    assert ask(gateway_to(upstream, keys=[KEY]), method="GET", path="/health").status == 200


def test_a_key_is_asked_for_before_the_body_is_read(upstream: Server) -> None:
    sent = ask(gateway_to(upstream, keys=[KEY]), pieces=[b"{", b"}"], path=CHAT)
    assert (sent.status, sent.took) == (401, 0)


def test_fifty_streams_at_once_do_not_mix(upstream: Server) -> None:
    def respond(seen: Seen) -> Answer:
        number = seen.json["messages"][0]["content"]
        return stream_answer(events(*[chunk(f"{number};") for _ in range(10)]), interval=0.002)(seen)

    upstream.respond = respond
    upstream._server.socket.listen(100)
    found: dict[int, str] = {}

    async def run() -> None:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(limits=limits, timeout=20) as client, anyio.create_task_group() as group:

            async def one(number: int) -> None:
                response = await client.post(url + CHAT, json=asking(str(number), stream=True))
                found[number] = said(response.content)

            for number in range(50):
                group.start_soon(one, number)

    with serve_on_thread(gateway_to(upstream, guard=FakeGuard())) as url:
        anyio.run(run)
    assert found == {number: f"{number};" * 10 for number in range(50)}


@pytest.mark.parametrize("hung", [False, True], ids=["raises", "hangs"])
@pytest.mark.parametrize("fail_open", [False, True])
def test_a_guard_without_a_verdict_is_a_503(hung: bool, fail_open: bool, upstream: Server) -> None:
    let_go = threading.Event()

    def guard(request: Any) -> bool:
        if hung:
            return let_go.wait(10)
        raise RuntimeError("down")

    gateway = gateway_to(upstream, guard=guard, fail_open=fail_open, deadline=0.05)
    with serve_on_thread(gateway) as url:
        response = post(url, asking())
    let_go.set()
    assert response.status_code == (200 if fail_open else 503)
    assert len(upstream.log) == (1 if fail_open else 0)
    if not fail_open:
        assert response.json()["error"]["code"] == "guard_unavailable"


@pytest.mark.parametrize(("word", "status"), [("step_up", 401), ("defer", 425)])
def test_other_decisions_have_statuses_of_their_own(word: str, status: int, upstream: Server) -> None:
    words: dict[str, Any] = {word: ["SECRET"]}
    sent = ask(gateway_to(upstream, guard=FakeGuard(**words)), ASK, path=CHAT)
    assert (sent.status, sent.header("x-highflame-policy-decision")) == (status, [word])
    assert bool(sent.header("www-authenticate")) is (status == 401)


def test_a_body_too_long_is_not_kept(upstream: Server) -> None:
    """Of a hundred megabytes no more is taken than the limit and one piece."""
    piece = b" " * 1024 * 1024
    sent = ask(gateway_to(upstream), pieces=[piece] * 100, path=CHAT)
    assert sent.status == 413
    assert sent.took == MAX_BODY // len(piece) + 1
    assert json.loads(sent.body)["error"]["code"] == "too_large"
