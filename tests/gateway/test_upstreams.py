"""What a provider gets of a call and what a caller gets of its reply: everything but what is none of theirs."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from highflame_middleware import Gateway, Secret
from highflame_middleware.gateway import Upstream
from highflame_middleware.gateway.messages import Headers, Request, end_to_end, plain_path
from highflame_middleware.testing import FakeGuard, serve_on_thread
from tests.gateway_kit import (
    ASK,
    WireUpstream,
    asking,
    body_of,
    raw_post,
    reply_bytes,
    send_raw,
    wire_upstream,
)
from tests.servers import chunk, events

# On trio, a generator inside httpx that nobody can reach is left to the collector when a reply is left early.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

CHAT = "/v1/chat/completions"
# Unknown fields, odd spacing, escapes, an exponent, a lone surrogate: nothing that a parse and a dump would keep.
ODD = (
    b'{ "model":"m",\t"messages":[{"role":"user","content":"caf\\u00e9 \xe2\x98\x83 \\ud800"}],'
    b'"x_new":{"deep":[1e2,1.0,-0]},"temperature":1E0 }\n'
)
REPLY = b'{ "choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}],\n "x_vendor":1e2 }'


@pytest.fixture
def upstream() -> Iterator[WireUpstream]:
    with wire_upstream(reply_bytes(REPLY)) as server:
        yield server


def gateway_to(upstream: WireUpstream, path: str = "/v1", **options: Any) -> Gateway:
    provider = {"base_url": f"{upstream.url}{path}", **options.pop("provider", {})}
    return Gateway(providers={"up": provider}, **{"guard": None, **options})


def send(gateway: Gateway, method: str = "POST", path: str = CHAT, **options: Any) -> httpx.Response:
    with httpx.Client(transport=gateway.transport(httpx), base_url="http://gw") as client:
        response = client.request(method, path, **options)
    gateway.close()
    return response


@pytest.mark.parametrize("guarded", [False, True], ids=["no guard", "allowed"])
def test_a_body_that_nothing_changes_is_sent_as_it_came(guarded: bool, upstream: WireUpstream) -> None:
    response = send(gateway_to(upstream, guard=FakeGuard() if guarded else None), content=ODD)
    assert upstream.body == ODD
    assert response.content == REPLY
    assert dict(upstream.headers)[b"content-length"] == str(len(ODD)).encode()


def test_an_edit_keeps_every_other_field(upstream: WireUpstream) -> None:
    body = {**ASK, "x_new": {"deep": [100.0, None, True]}, "tools": []}
    send(gateway_to(upstream, guard=FakeGuard(redact=["SECRET"])), json=body)
    expected = {**body, "messages": [{"role": "user", "content": "Tell me the [redacted]."}]}
    assert json.loads(upstream.body) == expected


def test_the_providers_name_is_taken_off_the_model_and_nothing_else(upstream: WireUpstream) -> None:
    send(gateway_to(upstream), json={**ASK, "model": "up/org/m", "x_new": 1})
    assert json.loads(upstream.body) == {**ASK, "model": "org/m", "x_new": 1}
    send(gateway_to(upstream), path="/v1/images/generations", json={"prompt": "a cat", "model": "up/painter"})
    assert json.loads(upstream.body) == {"prompt": "a cat", "model": "painter"}


@pytest.mark.parametrize(
    ("base", "path", "line"),
    [
        ("/v1", CHAT, "/v1/chat/completions"),
        ("/v1/", CHAT, "/v1/chat/completions"),
        ("", CHAT, "/chat/completions"),
        ("/api/openai/v1", CHAT, "/api/openai/v1/chat/completions"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/v1", "/v1", "/v1"),
        ("/v1", "/v1/files/f%2F1/content?after=a%20b&x=%2B&y", "/v1/files/f%2F1/content?after=a%20b&x=%2B&y"),
        ("/v1", "/v1beta/models", "/v1/v1beta/models"),
        ("", "/v1beta/models", "/v1beta/models"),
        ("/v1", "/v1/models/org%2Fm;rev=1", "/v1/models/org%2Fm;rev=1"),
    ],
)
def test_where_a_call_goes(base: str, path: str, line: str, upstream: WireUpstream) -> None:
    send(gateway_to(upstream, base), "GET", path)
    assert upstream.line == f"GET {line} HTTP/1.1".encode()


# Paths that would leave the base URL, or the host, of a provider whose key the gateway lends.
ESCAPES = {
    "another host": "/v1@evil.example/chat/completions",
    "a longer host": "/v1.evil.example/chat/completions",
    "another port": "/v1:81/chat/completions",
    "no slash": "@evil.example/chat/completions",
    "absolute": "http://evil.example/v1/chat/completions",
    "up": "/v1/../../admin",
    "up, encoded": "/v1/%2e%2e/admin",
    "up, encoded twice": "/v1/%252e%252e/admin",
    "up, half encoded": "/v1/.%2E/admin",
    "up, with parameters": "/v1/..;/admin",
    "up, backwards": "/v1/..\\admin",
    "up, at the end": "/v1/..",
    "up, encoded slashes": "/v1/a%2f..%2fadmin",
    "here": "/v1/./chat/completions",
    "fragment": "/v1/chat/completions#x",
    "a space": "/v1/chat completions",
    "a line end": "/v1/x HTTP/1.1\r\nx-smuggled: 1\r\n\r\n",
    "a byte": "/v1/\xff",
}


@pytest.mark.parametrize("base", ["", "/v1"])
@pytest.mark.parametrize("name", ESCAPES)
def test_no_path_leaves_the_providers_base_url(name: str, base: str, upstream: WireUpstream) -> None:
    gateway = gateway_to(upstream, base, provider={"api_key": "sk-lent"})
    request = Request(method="GET", path=ESCAPES[name])
    try:
        reply = gateway.handle(request)
    except Exception as error:
        assert type(error).__name__ == "UnreadableError", error
        assert upstream.seen == []
    else:
        reply.close()
        assert upstream.line.startswith(f"GET {base}/v1".encode()), "below the base URL, at the same host"
        assert dict(upstream.headers)[b"host"] == upstream.url.removeprefix("http://").encode()
    finally:
        gateway.close()


def test_a_query_cannot_cut_the_path_off(upstream: WireUpstream) -> None:
    gateway = gateway_to(upstream)
    gateway.handle(Request(method="GET", path="/v1/models", query="a=b#c")).close()
    gateway.close()
    assert upstream.line == b"GET /v1/models?a=b%23c HTTP/1.1"


PASSED = [
    (b"user-agent", b"sdk/1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"br, zstd"),
    (b"openai-organization", b"org"),
    (b"x-stainless-retry-count", b"0"),
    (b"idempotency-key", b"k"),
    (b"x-unknown", b"1"),
    (b"x-unknown", b"2"),
    (b"x-high", b"kept: only our own family is not"),
]
KEPT_BACK = {
    b"host": b"gateway.example",
    b"connection": b"keep-alive, X-Private",
    b"x-private": b"named by connection",
    b"keep-alive": b"timeout=5",
    b"proxy-authorization": b"Basic eA==",
    b"proxy-connection": b"keep-alive",
    b"te": b"trailers",
    b"trailer": b"x",
    b"upgrade": b"h2c",
    b"cookie": b"session=1",
    b"forwarded": b"for=1.2.3.4",
    b"x-forwarded-for": b"1.2.3.4",
    b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"tracestate": b"a=b",
    b"baggage": b"user=ada",
    b"expect": b"100-continue",
    b"x-highflame-provider": b"up",
    b"x-highflame-apikey": b"hf-key",
    b"x-highflame-user": b"ada",
    b"x-javelin-apikey": b"jv-key",
    b"x-javelin-unheard-of": b"1",
}


def test_which_headers_go_on(upstream: WireUpstream) -> None:
    headers = [*PASSED, *KEPT_BACK.items(), (b"content-type", b"application/json")]
    gateway = gateway_to(upstream)
    made = tuple((name.decode(), value.decode()) for name, value in headers)
    gateway.handle(Request(method="POST", path=CHAT, headers=made, body=body_of(ASK))).close()
    gateway.close()
    sent = [item for item in upstream.headers if item[0] not in (b"host", b"content-length")]
    assert sent == [*PASSED, (b"content-type", b"application/json")]
    assert dict(upstream.headers)[b"host"] == upstream.url.removeprefix("http://").encode()


@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key"])
def test_a_key_of_the_gateways_replaces_every_one_of_the_callers(header: str, upstream: WireUpstream) -> None:
    response = send(
        gateway_to(upstream, provider={"api_key": "sk-lent"}), json=ASK, headers={header: "Bearer sk-callers"}
    )
    assert response.status_code == 200
    assert b"sk-callers" not in upstream.seen[-1]
    assert [value for name, value in upstream.headers if name == b"authorization"] == [b"Bearer sk-lent"]


def test_without_one_the_callers_goes_along(upstream: WireUpstream) -> None:
    send(gateway_to(upstream), json=ASK, headers={"authorization": "Bearer sk-callers", "api-key": "az"})
    assert (b"authorization", b"Bearer sk-callers") in upstream.headers
    assert (b"api-key", b"az") in upstream.headers


def test_a_callers_key_goes_to_the_provider_that_is_meant_only() -> None:
    with wire_upstream(reply_bytes(REPLY)) as own, wire_upstream(reply_bytes(REPLY)) as lent:
        providers = {
            "own": Upstream(base_url=f"{own.url}/v1"),
            "lent": Upstream(base_url=f"{lent.url}/v1", api_key=Secret("sk-lent")),
        }
        gateway = Gateway(providers=providers, guard=None)
        for name in ("own", "lent"):
            send(gateway, json={**ASK, "model": f"{name}/m"}, headers={"authorization": "Bearer sk-callers"})
        assert (b"sk-callers" in own.seen[-1], b"sk-callers" in lent.seen[-1]) == (True, False)
        assert (b"sk-lent" in own.seen[-1], b"sk-lent" in lent.seen[-1]) == (False, True)


def test_a_reply_passes_with_all_its_headers() -> None:
    headers = [b"X-Vendor: 1", b"x-vendor: 2", b"x-ratelimit-remaining: 7", b"retry-after: 3", b"x-cafe: caf\xe9"]
    ended = [b"connection: x-hop", b"x-hop: 1", b"keep-alive: timeout=5", b"set-cookie: session=1", b"trailer: x"]
    with wire_upstream(reply_bytes(REPLY, *headers, *ended, status=b"429 Too Many Requests")) as upstream:
        with serve_on_thread(gateway_to(upstream, guard=FakeGuard())) as url:
            reply = send_raw(url, raw_post(CHAT.encode(), ODD))
    assert (reply.status, reply.body) == (429, REPLY)
    assert reply.header(b"x-vendor") == [b"1", b"2"]
    assert reply.header(b"x-cafe") == [b"caf\xe9"]
    assert reply.header(b"retry-after") == [b"3"]
    for name in (b"x-hop", b"keep-alive", b"set-cookie", b"trailer"):
        assert reply.header(name) == [], name


@pytest.mark.parametrize("status", [b"200 OK", b"201 Created", b"400 Bad Request", b"500 Oh no"])
def test_what_is_not_guarded_passes_byte_for_byte(status: bytes) -> None:
    """An unknown operation, with a guard on: compressed bytes stay compressed."""
    packed = gzip.compress(b"\x00\xff" * 100, mtime=0)
    answer = reply_bytes(packed, b"content-encoding: gzip", status=status, kind=b"audio/mpeg")
    with wire_upstream(answer) as upstream, serve_on_thread(gateway_to(upstream, guard=FakeGuard())) as url:
        reply = send_raw(url, raw_post(b"/v1/audio/speech", b"\x00not json", b"content-type: x/y"))
        assert upstream.body == b"\x00not json"
    assert reply.body == packed
    assert reply.header(b"content-encoding") == [b"gzip"]
    assert reply.header(b"content-length") == [str(len(packed)).encode()]
    assert reply.status == int(status[:3])


@pytest.mark.parametrize("kind", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "identity"])
def test_a_compressed_reply_is_guarded_and_arrives_plain(encoding: str, kind: str) -> None:
    body = REPLY
    for coding in encoding.split(", "):
        body = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding](body)
    with wire_upstream(reply_bytes(body, b"content-encoding: " + encoding.encode())) as upstream:
        status, headers, content = handled(kind, gateway_to(upstream, guard=FakeGuard(redact=["Hi"])))
    assert status == 200
    assert b"[redacted]" in content
    assert {name for name, _ in headers}.isdisjoint({"content-encoding", "content-length"})


UNREADABLE = {
    "unknown encoding": (b"content-encoding: br", REPLY),
    "one of two unknown": (b"content-encoding: gzip, zstd", gzip.compress(REPLY, mtime=0)),
    "not what it says": (b"content-encoding: gzip", REPLY),
    "cut short": (b"content-encoding: gzip", gzip.compress(REPLY, mtime=0)[:-12]),
}


@pytest.mark.parametrize("kind", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_reply_in_an_encoding_that_cannot_be_undone(name: str, kind: str) -> None:
    header, body = UNREADABLE[name]
    with wire_upstream(reply_bytes(body, header)) as upstream:
        with pytest.raises(Exception) as caught:
            handled(kind, gateway_to(upstream, guard=FakeGuard()))
        assert type(caught.value).__name__ == "UnreadableError"


@pytest.mark.parametrize("kind", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize("options", [{"mode": "monitor"}, {"fail_open": True}], ids=["monitor", "fail open"])
def test_where_nothing_is_stopped_it_passes_as_it_came(options: dict[str, Any], kind: str) -> None:
    with wire_upstream(reply_bytes(b"\x0b\x02\x80brotli", b"content-encoding: br")) as upstream:
        status, headers, content = handled(kind, gateway_to(upstream, guard=FakeGuard(), **options))
    assert (status, content) == (200, b"\x0b\x02\x80brotli")
    assert ("content-encoding", "br") in headers


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br;q=1.0, gzip;q=0.8, *;q=0.1", b"gzip;q=0.8"),
        (b"br", b"identity"),
        (None, None),
    ],
)
def test_a_provider_is_asked_for_what_can_be_read(given: Any, asked: Any, upstream: WireUpstream) -> None:
    for gateway, expected in ((gateway_to(upstream, guard=FakeGuard()), asked), (gateway_to(upstream), given)):
        headers = (("accept-encoding", given.decode()),) if given is not None else ()
        gateway.handle(Request(method="POST", path=CHAT, headers=headers, body=body_of(ASK))).close()
        gateway.close()
        assert dict(upstream.headers).get(b"accept-encoding") == expected


def handled(kind: str, gateway: Gateway) -> tuple[int, Headers, bytes]:
    """One call at the gateway's own door, read to its end."""
    request = Request(method="POST", path=CHAT, body=body_of(ASK))
    if kind == "blocking":
        try:
            reply = gateway.handle(request)
            return reply.status, reply.headers, b"".join(reply.body)
        finally:
            gateway.close()

    async def run() -> Any:
        try:
            reply = await gateway.ahandle(request)
            return reply.status, reply.headers, b"".join([piece async for piece in reply.body])
        finally:
            await gateway.aclose()

    return anyio.run(run, backend=kind)


def test_a_provider_that_sets_cookies_gets_none_back() -> None:
    with wire_upstream(reply_bytes(REPLY, b"set-cookie: session=1; Path=/")) as upstream:
        gateway = gateway_to(upstream)
        for _ in range(2):
            gateway.handle(Request(method="POST", path=CHAT, body=body_of(ASK))).close()
        gateway.close()
        assert len(upstream.seen) == 2
        assert b"session" not in upstream.seen[1]


def test_a_redirect_is_the_callers_to_follow(upstream: WireUpstream) -> None:
    upstream.reply = reply_bytes(b"", b"location: http://169.254.169.254/keys", status=b"307 Elsewhere")
    response = send(gateway_to(upstream), json=ASK)
    assert (response.status_code, len(upstream.seen)) == (307, 1)


def test_a_stream_passes_byte_for_byte() -> None:
    whole = b": ping\n\n" + b"".join(events(chunk("Hi"))) + b"\n\nid: 7\r\n\r\ndata: {broken\n\n"
    with wire_upstream(reply_bytes(whole, kind=b"text/event-stream; charset=utf-8")) as upstream:
        for guard in (None, FakeGuard()):
            assert handled("blocking", gateway_to(upstream, guard=guard))[2] == whole


# Names of one path that lenient servers know: whatever they would take for a call is guarded as that call.
@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/V1/Chat/Completions",
        "/v1/%63hat/completions",
        "/v1/%2563hat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/chat%5ccompletions",
        "/v1//chat//completions",
        "/v1/chat;a=b/completions;c",
        "/v1/chat/completions/",
        "/v1/chat/completions%2f",
        "/prefix/chat/completions",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_no_spelling_of_a_path_or_method_goes_around_the_guard(
    path: str, method: str, upstream: WireUpstream
) -> None:
    gateway = gateway_to(upstream, guard=FakeGuard(deny=["SECRET"]))
    response = send(gateway, method, path, json=ASK)
    assert response.status_code == 403
    assert upstream.seen == []


def test_plain_paths_take_bounded_work() -> None:
    assert plain_path("/%" + "25" * 50_000).startswith("/%")


def test_what_is_between_two_ends_of_one_connection() -> None:
    headers = (("connection", "close, X-A ,, "), ("x-a", "1"), ("x-b", "2"), ("transfer-encoding", "chunked"))
    assert end_to_end(headers) == (("x-b", "2"),)


def test_two_readings_of_one_body_are_refused(upstream: WireUpstream) -> None:
    """A key that stands twice: the guard would read one value, and another parser the other."""
    body = b'{"model":"m","messages":[{"role":"user","content":"SECRET","content":"Hi"}]}'
    assert send(gateway_to(upstream, guard=FakeGuard()), content=body).status_code == 400
    assert upstream.seen == []
    assert send(gateway_to(upstream, guard=FakeGuard(), mode="monitor"), content=body).status_code == 200
    assert upstream.body == body


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("no JSON", b"not json"),
        ("half", body_of(ASK)[:-1]),
        ("not UTF-8", b'{"model": "\xff"}'),
        ("deep", b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("compressed", gzip.compress(body_of(ASK), mtime=0)),
        ("a number too long", b'{"n": ' + b"1" * 5000 + b"}"),
    ],
)
def test_a_body_that_cannot_be_read(name: str, body: bytes, upstream: WireUpstream) -> None:
    assert send(gateway_to(upstream, guard=FakeGuard()), content=body).status_code == 400
    assert upstream.seen == []
    for options in (
        {"guard": None},
        {"guard": FakeGuard(), "mode": "monitor"},
        {"guard": FakeGuard(), "fail_open": True},
    ):
        assert send(gateway_to(upstream, **options), content=body).status_code == 200
        assert upstream.body == body


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_every_encoding_is_guarded(encoding: str, upstream: WireUpstream) -> None:
    body = json.dumps(ASK).encode(encoding)
    assert send(gateway_to(upstream, guard=FakeGuard(deny=["SECRET"])), content=body).status_code == 403
    assert upstream.seen == []
    send(gateway_to(upstream, guard=FakeGuard()), content=body)
    assert upstream.body == body


def test_numbers_that_are_no_json_pass_as_they_came(upstream: WireUpstream) -> None:
    body = body_of({**asking(), "temperature": float("nan"), "top_p": float("inf")})
    assert b"NaN" in body
    send(gateway_to(upstream, guard=FakeGuard()), content=body)
    assert upstream.body == body


@pytest.mark.parametrize("path", ["/v1/responses/resp_1/cancel", CHAT])
def test_a_call_without_a_body_passes(path: str, upstream: WireUpstream) -> None:
    assert send(gateway_to(upstream, guard=FakeGuard()), path=path).status_code == 200
    assert (upstream.line, upstream.body) == (f"POST {path} HTTP/1.1".encode(), b"")


def test_a_stored_reply_is_guarded_when_it_is_fetched(upstream: WireUpstream) -> None:
    upstream.reply = reply_bytes(
        body_of({"object": "response", "output": [{"type": "message", "content": [{"text": "the SECRET"}]}]})
    )
    response = send(gateway_to(upstream, guard=FakeGuard(redact=["SECRET"])), "GET", "/v1/responses/resp_1")
    assert response.json()["output"][0]["content"][0]["text"] == "the [redacted]"
