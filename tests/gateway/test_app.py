"""The gateway's door: who takes a call, what the guard's word is worth there, and what is on record."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from highflame_middleware import Gateway, GuardError, bypass, context
from highflame_middleware.errors import BlockedError, GatewayError, HighflameError
from highflame_middleware.gateway.messages import Request
from highflame_middleware.telemetry import trace_headers
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse
from tests.gateway_kit import ASK, asking, body_of, events_of
from tests.servers import Server, running

CHAT = "/v1/chat/completions"
ECHO: dict[str, Any] = {"echo": {"scripts": [{"text": "The SECRET is out."}]}}


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


def handle(
    kind: str, gateway: Gateway, body: Any = ASK, *, forward: bool = False, **fields: Any
) -> tuple[int, bytes]:
    """One call at the door (or behind it: ``forward``), read to its end."""
    content = body if isinstance(body, bytes) else body_of(body)
    headers = (("content-type", "application/json"), *fields.pop("headers", ()))
    request = Request(**{"method": "POST", "path": CHAT, "body": content, "headers": headers, **fields})
    if kind == "blocking":
        try:
            reply = (gateway.forward if forward else gateway.handle)(request)
            return reply.status, b"".join(reply.body)
        finally:
            gateway.close()

    async def run() -> Any:
        try:
            reply = await (gateway.aforward if forward else gateway.ahandle)(request)
            return reply.status, b"".join([piece async for piece in reply.body])
        finally:
            await gateway.aclose()

    return anyio.run(run, backend=kind)


def two(upstream: Server) -> dict[str, Any]:
    return {"up": {"base_url": f"{upstream.url}/v1"}, **ECHO}


@pytest.mark.parametrize("forward", [False, True], ids=["from outside", "guarded already"])
@pytest.mark.parametrize(
    ("default", "model", "header", "taker", "sent"),
    [
        ("echo", "m", None, "echo", None),
        ("up", "m", None, "up", "m"),
        ("echo", "up/org/m", None, "up", "org/m"),
        (None, "up/m", None, "up", "m"),
        ("echo", "m", "up", "up", "m"),
        ("echo", "echo/m", "up", "up", "echo/m"),
    ],
)
def test_who_takes_a_call(
    default: Any, model: str, header: Any, taker: str, sent: Any, forward: bool, kind: str, upstream: Server
) -> None:
    headers = (("x-highflame-provider", header),) if header else ()
    gateway = Gateway(providers=two(upstream), default=default, guard=None)
    status, body = handle(kind, gateway, asking(model=model), headers=headers, forward=forward)
    assert status == 200
    assert (b"SECRET" in body) is (taker == "echo")
    assert [seen.json["model"] for seen in upstream.log] == ([sent] if taker == "up" else [])


@pytest.mark.parametrize("forward", [False, True], ids=["from outside", "guarded already"])
@pytest.mark.parametrize(
    ("model", "header", "needles"),
    [("m", None, ("'m'", "up, echo")), ("up/m", "nobody", ("'nobody'", "up, echo")), (7, None, ("None",))],
)
def test_a_call_that_nobody_takes_says_who_could(
    model: Any, header: Any, needles: tuple[str, ...], forward: bool, kind: str, upstream: Server
) -> None:
    headers = (("x-highflame-provider", header),) if header else ()
    with pytest.raises(GatewayError) as caught:
        handle(
            kind,
            Gateway(providers=two(upstream), guard=None),
            asking(model=model),
            headers=headers,
            forward=forward,
        )
    for needle in needles:
        assert needle in str(caught.value)
    assert upstream.log == []


@pytest.mark.parametrize("decision", [Decision.DENY, Decision.STEP_UP, Decision.DEFER])
def test_a_stopped_prompt_goes_nowhere(decision: Decision, kind: str, upstream: Server) -> None:
    words: dict[str, Any] = {decision.value: ["SECRET"]}
    gateway = Gateway(providers=two(upstream), default="up", guard=FakeGuard(**words))
    with pytest.raises(BlockedError) as caught:
        handle(kind, gateway)
    assert (caught.value.decision, caught.value.stage.label) == (decision, "prompt")
    assert upstream.log == []


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_a_redaction_goes_both_ways(stream: bool, kind: str, upstream: Server) -> None:
    gateway = Gateway(providers=ECHO, guard=FakeGuard(redact=["SECRET"]))
    _, body = handle(kind, gateway, {**ASK, "stream": stream})
    assert b"SECRET" not in body
    assert b"[redacted]" in body
    gateway = Gateway(providers=two(upstream), default="up", guard=FakeGuard(redact=["SECRET"]))
    handle(kind, gateway, {**ASK, "stream": stream})
    assert upstream.log[0].json == {
        **ASK,
        "messages": [{"role": "user", "content": "Tell me the [redacted]."}],
        "stream": stream,
    }


class Hanging:
    """A guard that answers once it is let go: not before its caller has given it up."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.let_go.wait(10)
        return GuardResponse(decision=Decision.ALLOW)


class Waiting:
    """A guard that waits for ever, asynchronously."""

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        await anyio.sleep(10)
        raise AssertionError("nobody waits so long")


FAULTY: dict[str, Callable[[], Any]] = {
    "raises": lambda: FakeGuard(fault=RuntimeError("down")),
    "raises, remote": lambda: FakeGuard(fault=RuntimeError("down"), local=False),
    "nonsense": lambda: lambda request: None,
    "hangs": Hanging,
    "hangs, asynchronous": Waiting,
}


@pytest.mark.parametrize("options", [{}, {"fail_open": True}, {"mode": "monitor"}, {"mode": "modify"}], ids=str)
@pytest.mark.parametrize("name", FAULTY)
def test_a_guard_without_a_verdict(name: str, options: dict[str, Any], kind: str, upstream: Server) -> None:
    guard = FAULTY[name]()
    gateway = Gateway(providers=two(upstream), default="up", guard=guard, deadline=0.05, **options)
    try:
        if options:
            assert handle(kind, gateway)[0] == 200
            assert len(upstream.log) == 1
        else:
            with pytest.raises(GuardError):
                handle(kind, gateway)
            assert upstream.log == []
    finally:
        if isinstance(guard, Hanging):
            guard.let_go.set()


@pytest.mark.parametrize("mode", ["monitor", "alert"])
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_looking_on_changes_nothing_and_reports_all(
    mode: str, stream: bool, kind: str, highflame_spans: CapturedSpans
) -> None:
    body = {**ASK, "stream": stream}
    seen = handle(kind, Gateway(providers=ECHO, guard=FakeGuard(deny=["SECRET"]), mode=mode), body)
    bare = handle(kind, Gateway(providers=ECHO, guard=None), body)
    assert _without_ids(seen[1]) == _without_ids(bare[1])
    reported = [(made["stage"], made["decision"], made["enforced"]) for made in highflame_spans.decisions()]
    assert reported == [("prompt", "deny", False), ("response", "deny", False)]


def _without_ids(body: bytes) -> Any:
    events = events_of(body) if body.startswith(b"data") else [json.loads(body)]
    return [{**event, "id": None} if isinstance(event, dict) else event for event in events]


def test_a_call_has_one_span_with_its_provider(kind: str, upstream: Server, highflame_spans: CapturedSpans) -> None:
    with context(user="ada", session="s1"):
        handle(kind, Gateway(providers=two(upstream), guard=FakeGuard()), asking(model="up/m"))
    (span,) = highflame_spans.finished
    assert span.name == "chat m"
    found = {name: span.attributes[name] for name in ("highflame.gateway.provider", "server.port", "user.id")}
    assert found == {"highflame.gateway.provider": "up", "server.port": upstream.port, "user.id": "ada"}
    assert span.attributes["gen_ai.usage.output_tokens"] > 0


def test_a_call_is_in_its_callers_trace(kind: str, highflame_spans: CapturedSpans) -> None:
    tracer = highflame_spans.provider.get_tracer("caller")
    outer = tracer.start_span("caller")
    headers = tuple(trace_headers(outer).items())
    handle(kind, Gateway(providers=ECHO, guard=None), headers=headers)
    outer.end()
    (span,) = highflame_spans.named("chat m")
    assert span.parent.span_id == outer.get_span_context().span_id


@pytest.mark.parametrize("given", ["", "00-0-0-0", "xx", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 50])
def test_a_malformed_trace_context_is_as_if_absent(given: str, kind: str, highflame_spans: CapturedSpans) -> None:
    handle(kind, Gateway(providers=ECHO, guard=None), headers=(("traceparent", given),))
    (span,) = highflame_spans.finished
    assert span.parent is None


def test_bypass_is_heard_and_put_on_record(kind: str, highflame_spans: CapturedSpans) -> None:
    guard = FakeGuard(deny=["SECRET"])
    with bypass("a test of it"):
        assert handle(kind, Gateway(providers=ECHO, guard=guard))[0] == 200
    assert guard.requests == []
    (span,) = highflame_spans.finished
    assert span.attributes["highflame.guardrail.bypass"] == "a test of it"


def test_what_was_guarded_is_not_guarded_again(kind: str, highflame_spans: CapturedSpans) -> None:
    guard = FakeGuard(deny=["SECRET"])
    assert handle(kind, Gateway(providers=ECHO, guard=guard), forward=True)[0] == 200
    assert guard.requests == []
    assert highflame_spans.finished == []


@pytest.mark.parametrize(
    ("keys", "given", "known"),
    [
        ([], None, True),
        (["k1", "k2"], "k1", True),
        (["k1", "k2"], "k2", True),
        (["k1"], "k", False),
        (["k1"], "k1 ", False),
        (["k1"], "", False),
        (["k1"], None, False),
        (["k1"], "schlüssel", False),
        (["k1"], "\udcff", False),
    ],
)
def test_which_keys_a_gateway_knows(keys: list[str], given: str | None, known: bool) -> None:
    assert Gateway(providers=ECHO, keys=keys, guard=None).knows(given) is known


def test_every_key_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an answer must not tell which key came close: none is skipped, none compared by ``==``."""
    import hmac

    compared: list[bytes] = []
    original = hmac.compare_digest

    def counting(given: Any, known: Any) -> bool:
        compared.append(known)
        return original(given, known)

    monkeypatch.setattr("hmac.compare_digest", counting)
    assert Gateway(providers=ECHO, keys=["k1", "k2", "k3"], guard=None).knows("k1")
    assert compared == [b"k1", b"k2", b"k3"]


def test_errors_of_the_door_are_of_one_tree(kind: str) -> None:
    for gateway, body in (
        (Gateway(providers={}, guard=None), ASK),
        (Gateway(providers=ECHO, guard=FakeGuard(deny=["SECRET"])), ASK),
        (Gateway(providers=ECHO), b"{"),
    ):
        with pytest.raises(HighflameError):
            handle(kind, gateway, body)


def test_openais_other_formats_are_guarded_at_the_door_and_its_forms_pass() -> None:
    gateway = Gateway(providers={"echo": {"scripts": [{"text": "ok"}]}}, guard=FakeGuard(deny=["SECRET"]))
    body = b'{"model": "m", "prompt": "a SECRET"}'
    asked = Request(
        method="POST", path="/v1/images/generations", headers=(("content-type", "application/json"),), body=body
    )
    with pytest.raises(BlockedError):
        gateway.handle(asked)
    form = replace(asked, path="/v1/images/edits", headers=(("content-type", "multipart/form-data; boundary=b"),))
    assert gateway.handle(form).status in (200, 404)
