"""What is Bedrock's own: signatures, encoded paths, attempts, bodies and streams read and left in every way."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("aiobotocore")

import aiobotocore.client
import aiobotocore.endpoint
import boto3
import botocore.client
import botocore.endpoint
from aiobotocore.eventstream import AioEventStream
from botocore import UNSIGNED
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch, EventStream
from botocore.exceptions import ClientError, EventStreamError, ParamValidationError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from highflame_middleware import BlockedError, Settings, UnreadableError, instrument
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.codecs.messages import message
from tests.instrumentation.kits.bedrock import ARN, EVENTS, KIT, MESSAGES, NOVA, Clients, make, options, speaking
from tests.servers import Answer, Seen, Server, json_answer

pytestmark = pytest.mark.skipif(
    not hasattr(make("sync", "http://127.0.0.1:9").runtime, "converse"),
    reason="Converse begins with botocore 1.34.116; what there was before is in the seam table",
)

Start = Callable[..., Instrumentation]
PROMPTED = {"inputText": "Tell me the SECRET."}
TITAN = "amazon.titan-text-express-v1"


def converse(clients: Clients) -> Any:
    return clients.runtime.converse(modelId=NOVA, messages=MESSAGES)


def stream(clients: Clients) -> Any:
    return clients.runtime.converse_stream(modelId=NOVA, messages=MESSAGES)


def said(events: list[Any]) -> str:
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


# ------------------------------------------------------------------------------------------------ addressing


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_signature_goes_to_no_gateway_that_only_speaks_openai(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = provider.respond = speaking()
    KIT.perform(kind, provider, KIT.cases["converse"], aws_session_token="token")
    signed = provider.log[0].headers
    assert signed["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert signed["x-amz-security-token"] == "token"
    provider.log.clear()
    routed(carries=("openai*",))
    KIT.perform(kind, provider, KIT.cases["converse"], aws_session_token="token")
    assert gateway.log == [], "not carried: it goes as its client sends it"
    assert provider.log[0].headers["authorization"].startswith("AWS4-HMAC-SHA256")


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("dialect", ["highflame-v2", "javelin"])
def test_what_the_header_routed_gateways_get(kind: str, dialect: str, provider: Server, gateway: Server) -> None:
    gateway.respond = speaking()
    settings = Settings(
        gateway=dialect, base_url=f"{gateway.url}/v1", api_key="hf-key", reroute_hosts=("*",), guard=None
    )
    with instrument(settings=settings):
        KIT.perform(kind, provider, KIT.cases["converse arn"])
    assert provider.log == []
    (seen,) = gateway.log
    encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3"
    assert seen.path == f"/v1/model/{encoded}/converse"
    assert seen.headers["x-highflame-apikey"] == seen.headers["x-javelin-apikey"] == "hf-key"
    assert seen.headers["x-javelin-model"] == ARN
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256"), "for the host it was made for"
    assert seen.headers["host"] == gateway.url.removeprefix("http://")
    assert "model" not in seen.json


@pytest.mark.parametrize("how", ["bearer", "unsigned"])
def test_no_credentials_are_needed(
    how: str, provider: Server, routed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.respond = speaking()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    given: dict[str, Any] = {"aws_access_key_id": None, "aws_secret_access_key": None}
    if how == "bearer":
        if not hasattr(Config(), "auth_scheme_preference"):
            pytest.skip("this version has no bearer keys for Bedrock")
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")
    else:
        given["config"] = Config(signature_version=UNSIGNED)
    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None):
        client = boto3.Session().client("bedrock-runtime", **options(provider.url, **given))
        try:
            reply = client.converse(modelId=NOVA, messages=MESSAGES)
        finally:
            client.close()
    assert "SECRET" not in str(reply)
    expected = "Bearer bedrock-key" if how == "bearer" else None
    assert provider.log[0].headers.get("authorization") == expected


def test_other_services_are_left_alone(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    provider.respond = lambda seen: Answer(
        200, (("content-type", "text/xml"),), [b"<R><GetCallerIdentityResult/></R>"]
    )
    routed(guard=FakeGuard(deny=["."]))
    client = boto3.Session().client("sts", **options(provider.url))
    client.get_caller_identity()
    client.close()
    assert len(provider.log) == 1
    assert gateway.log == []
    assert highflame_spans.finished == []


def test_calls_made_on_the_way_to_one_are_left_alone(provider: Server, gateway: Server, routed: Start) -> None:
    """A handler of the caller's asks another service while a call of ours is under way."""
    gateway.respond = speaking()
    provider.respond = lambda seen: Answer(
        200, (("content-type", "text/xml"),), [b"<R><GetCallerIdentityResult/></R>"]
    )
    routed()
    sts = boto3.Session().client("sts", **options(provider.url))
    with make("sync", provider.url) as clients:
        clients.runtime.meta.events.register(
            "before-send.bedrock-runtime", lambda **kwargs: sts.get_caller_identity() and None
        )
        converse(clients)
    sts.close()
    assert [seen.path for seen in provider.log] == ["/"]
    assert len(gateway.log) == 1


def test_handlers_of_the_callers_are_asked_as_before(provider: Server, routed: Start) -> None:
    provider.respond = speaking()
    seen: list[str] = []

    def note(request: Any, **kwargs: Any) -> None:
        seen.append(request.url)
        request.headers["x-mine"] = "1"

    with instrument(guard=FakeGuard(), gateway=None), make("sync", provider.url) as clients:
        clients.runtime.meta.events.register("before-send.bedrock-runtime.Converse", note)
        converse(clients)
    assert seen == [f"{provider.url}/model/us.amazon.nova-lite-v1%3A0/converse"]
    assert provider.log[0].headers["x-mine"] == "1"


def test_a_stub_is_a_stub(provider: Server, highflame_spans: CapturedSpans) -> None:
    with instrument(guard=FakeGuard(), gateway=None), make("sync", provider.url) as clients:
        stubber = Stubber(clients.runtime)
        usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
        canned = {
            "output": {"message": {"role": "assistant", "content": []}},
            "stopReason": "end_turn",
            "usage": usage,
            "metrics": {"latencyMs": 1},
        }
        stubber.add_response("converse", canned)
        with stubber:
            assert converse(clients)["usage"] == usage
    assert provider.log == []
    assert len(highflame_spans.finished) == 1


def test_an_asynchronous_client_made_before(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()

    async def call() -> Any:
        async with make("async", provider.url) as clients:
            routed(guard=FakeGuard(redact=["SECRET"]))
            return await converse(clients)

    assert "[redacted]" in str(asyncio.run(call())["output"])
    assert (len(gateway.log), provider.log) == (1, [])


def test_everything_is_put_back() -> None:
    owners = (
        (botocore.client.BaseClient, "_make_api_call"),
        (botocore.endpoint.Endpoint, "_send"),
        (aiobotocore.client.AioBaseClient, "_make_api_call"),
        (aiobotocore.endpoint.AioEndpoint, "_send"),
    )
    before = [vars(owner)[name] for owner, name in owners]
    with instrument(gateway=None) as handle:
        assert {handle.status()[sdk].state for sdk in ("botocore", "aiobotocore")} == {"patched"}
        assert all(vars(owner)[name] is not old for (owner, name), old in zip(owners, before, strict=True))
    assert [vars(owner)[name] for owner, name in owners] == before


# -------------------------------------------------------------------------------------------------- attempts


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_call_in_several_attempts(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    answers = [json_answer({"message": "busy"}, 503), json_answer({"message": "busy"}, 503), speaking()]
    gateway.respond = lambda seen: answers.pop(0)(seen)
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=guard)
    reply = KIT.perform(kind, provider, KIT.cases["converse"], attempts=3)
    assert reply["ResponseMetadata"]["RetryAttempts"] == 2
    assert len(gateway.log) == 3
    assert not any(b"SECRET" in seen.body for seen in gateway.log)
    assert provider.log == []
    assert len(highflame_spans.finished) == 1
    assert [request.stage for request in guard.requests] == ["prompt", "response"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_is_the_error_that_it_was(kind: str, provider: Server, highflame_spans: CapturedSpans) -> None:
    provider.respond = json_answer({"message": "no such model"}, 400, x_amzn_errortype="ValidationException")
    with instrument(guard=FakeGuard(), gateway=None), pytest.raises(ClientError, match="no such model"):
        KIT.perform(kind, provider, KIT.cases["converse stream"])
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "ValidationException" or "error.type" in span.attributes


def test_botocore_still_checks_what_it_is_given(provider: Server) -> None:
    with instrument(guard=FakeGuard(), gateway=None), make("sync", provider.url) as clients:
        with pytest.raises(ParamValidationError):
            clients.runtime.converse(modelId=NOVA, messages="hi")


# ---------------------------------------------------------------------------------------------------- bodies


class Once(io.RawIOBase):
    """A file that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._content, self.reads = content, 0

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        content, self._content = self._content, b""
        return content


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("written", ["text", "bytes", "bytearray", "file"])
def test_a_body_is_sent_as_it_was_written(kind: str, written: str, provider: Server) -> None:
    provider.respond = speaking()
    content = b'{ "inputText":\t"h\\u00e4llo",  "textGenerationConfig": {} }'
    body: Any = {"text": content.decode(), "bytes": content, "bytearray": bytearray(content), "file": Once(content)}
    case = KIT.cases["invoke titan"]
    given = {"modelId": TITAN, "body": body[written]}
    with instrument(guard=FakeGuard(), gateway=None):
        KIT.perform(kind, provider, type(case)(lambda clients: clients.runtime.invoke_model(**given)))
    assert provider.log[0].body == content
    assert given["body"] is body[written], "and the caller's own is as it was"


def test_an_edited_body_is_signed_as_it_is_sent(provider: Server) -> None:
    provider.respond = speaking()
    params = {"modelId": NOVA, "messages": MESSAGES, "additionalModelRequestFields": {"new": {"field": [1, None]}}}
    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None), make("sync", provider.url) as clients:
        clients.runtime.converse(**params)
    (seen,) = provider.log
    assert seen.json == {
        "messages": [{"role": "user", "content": [{"text": "Tell me the [redacted]."}]}],
        "additionalModelRequestFields": {"new": {"field": [1, None]}},
    }
    assert MESSAGES[0]["content"][0]["text"] == "Tell me the SECRET."


@pytest.mark.parametrize("body", [b"\x00\x01", '{"inputText": "a", "inputText": "b"}', "[" * 100_000])
def test_a_body_that_cannot_be_read_is_not_sent(body: Any, provider: Server) -> None:
    provider.respond = json_answer({"results": []})
    with make("sync", provider.url) as clients:
        with instrument(guard=FakeGuard(), gateway=None), pytest.raises(UnreadableError, match="InvokeModel"):
            clients.runtime.invoke_model(modelId=TITAN, body=body)
        assert provider.log == []
        with instrument(guard=FakeGuard(), mode="monitor", gateway=None):
            clients.runtime.invoke_model(modelId=TITAN, body=body)["body"].close()
    assert provider.log[0].body == (body if isinstance(body, bytes) else body.encode())


def _lines(body: Any) -> bytes:
    return b"\n".join(body.iter_lines())


def _pieces(body: Any) -> bytes:
    return b"".join(body.iter_chunks(3))


def _by_sizes(body: Any) -> bytes:
    return b"".join(iter(lambda: body.read(5), b""))


def _into(body: Any) -> bytes:
    out, buffer = b"", bytearray(7)
    while size := body.readinto(buffer):
        out += buffer[:size]
    return out


def _entered(body: Any) -> bytes:
    with body as raw:
        return bytes(raw.read())


READ: dict[str, Callable[[Any], bytes]] = {
    "all": lambda body: body.read(),
    "by sizes": _by_sizes,
    "chunks": _pieces,
    "lines": _lines,
    "into a buffer": _into,
    "iterated": lambda body: b"".join(body),
    "entered": _entered,
    "as lines": lambda body: b"".join(body.readlines()),
    "as JSON": lambda body: json.dumps(json.load(body)).encode(),
}


if "readinto" not in vars(StreamingBody):
    del READ["into a buffer"]


@pytest.mark.parametrize("way", READ)
def test_a_body_is_judged_however_it_is_read(way: str, provider: Server, highflame_spans: CapturedSpans) -> None:
    provider.respond = speaking()
    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None), make("sync", provider.url) as clients:
        body = clients.runtime.invoke_model(modelId=TITAN, body=json.dumps(PROMPTED))["body"]
        assert type(body) is StreamingBody
        assert not highflame_spans.finished, "it is still to be read"
        content = READ[way](body)
        assert json.loads(content)["results"][0]["outputText"] == "The [redacted] is out."
        assert body.read() == b""
        body.close()
        body.close()
    assert len(highflame_spans.finished) == 1


def test_a_length_is_still_checked_where_nothing_may_change(provider: Server) -> None:
    provider.respond = speaking()
    with instrument(guard=FakeGuard(), mode="monitor", gateway=None), make("sync", provider.url) as clients:
        reply = clients.runtime.invoke_model(modelId=TITAN, body=json.dumps(PROMPTED))
        assert "content-length" in reply["ResponseMetadata"]["HTTPHeaders"]
        assert b"SECRET" in reply["body"].read()


async def _aread(body: Any, way: str) -> bytes:
    if way == "all":
        return bytes(await body.read())
    if way == "by sizes":
        out = b""
        while piece := await body.read(5):
            out += piece
        return out
    if way == "chunks":
        return b"".join([piece async for piece in body.iter_chunks(3)])
    if way == "lines":
        return b"\n".join([line async for line in body.iter_lines()])
    async with body as entered:
        return bytes(await entered.read())


@pytest.mark.parametrize("way", ["all", "by sizes", "chunks", "lines", "entered"])
def test_an_asynchronous_body_is_judged_however_it_is_read(
    way: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    provider.respond = speaking()

    async def call() -> bytes:
        async with make("async", provider.url) as clients:
            reply = await clients.runtime.invoke_model(modelId=TITAN, body=json.dumps(PROMPTED))
            content = await _aread(reply["body"], way)
            reply["body"].close()
            return content

    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None):
        content = asyncio.run(call())
    assert json.loads(content)["results"][0]["outputText"] == "The [redacted] is out."
    assert len(highflame_spans.finished) == 1


# --------------------------------------------------------------------------------------------------- streams


def test_a_stream_is_of_its_own_type_and_judged_across_messages(provider: Server) -> None:
    provider.respond = speaking()

    async def call() -> str:
        async with make("async", provider.url) as clients:
            events = (await stream(clients))["stream"]
            assert type(events) is AioEventStream
            return said([event async for event in events])

    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None):
        with make("sync", provider.url) as clients:
            events = stream(clients)["stream"]
            assert type(events) is EventStream
            assert said(list(events)) == "The [redacted] is out."
        assert asyncio.run(call()) == "The [redacted] is out."


def test_every_cut_of_a_stream_gives_the_same(provider: Server) -> None:
    cut = 0

    def respond(seen: Seen) -> Answer:
        content = b"".join(speaking()(seen).chunks)
        return Answer(200, (("content-type", EVENTS),), [content[:cut], content[cut:]])

    provider.respond = respond
    with instrument(guard=FakeGuard(redact=["SECRET"]), gateway=None), make("sync", provider.url) as clients:
        for cut in range(1, 700, 23):  # noqa: B007 - what is answered depends on it
            assert said(list(stream(clients)["stream"])) == "The [redacted] is out."


def endless(seen: Seen) -> Answer:
    first = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello. "}})
    return Answer(200, (("content-type", EVENTS),), [first, first], hang=True)


def leave(how: str, events: Any) -> None:
    if how == "close":
        events.close()
    elif how == "break":
        for _ in events:
            break
        events.close()
    else:
        next(iter(events))


@pytest.mark.parametrize("how", ["close", "break", "drop"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_is_left_ends_its_span_and_its_upstream(
    how: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    provider.respond = endless
    guard = FakeGuard()
    with instrument(guard=guard, mode="monitor", gateway=None), make("sync", provider.url) as clients:
        events = stream(clients)["stream"]
        leave(how, events)
        del events
        gc.collect()
        assert provider.left.wait(5)
        assert len(highflame_spans.finished) == 1
        gc.collect()
    assert len(highflame_spans.finished) == 1


@pytest.mark.parametrize("how", ["close", "break", "drop", "cancel"])
def test_an_asynchronous_stream_that_is_left_ends_its_span_and_its_upstream(
    how: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    provider.respond = endless

    async def read(events: Any) -> None:
        async for _ in events:
            pass

    async def call() -> None:
        async with make("async", provider.url) as clients:
            events = (await stream(clients))["stream"]
            if how == "close":
                events.close()
            elif how == "break":
                async for _ in events:
                    break
                events.close()
            elif how == "cancel":
                task = asyncio.create_task(read(events))
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                del task
            else:
                await anext(aiter(events))
            del events
            for _ in range(3):
                gc.collect()
                await asyncio.sleep(0.02)
            assert len(highflame_spans.finished) == 1
            assert await asyncio.to_thread(provider.left.wait, 5)

    with instrument(guard=FakeGuard(), mode="monitor", gateway=None):
        asyncio.run(call())
    gc.collect()
    assert len(highflame_spans.finished) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_guard_stops_is_raised_where_it_is_read_and_closes_the_upstream(
    kind: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    def respond(seen: Seen) -> Answer:
        first = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "The SECRET"}})
        stop = message("contentBlockStop", {"contentBlockIndex": 0})
        return Answer(200, (("content-type", EVENTS),), [first, stop], hang=True)

    provider.respond = respond
    with instrument(guard=FakeGuard(deny=["The SECRET"]), gateway=None), pytest.raises(BlockedError) as caught:
        KIT.perform(kind, provider, KIT.cases["converse stream"])
    assert caught.value.stage == "response"
    assert provider.left.wait(5)
    (span,) = highflame_spans.finished
    assert not span.status.is_ok


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_corrupted_stream_is_not_handed_on(kind: str, provider: Server) -> None:
    def respond(seen: Seen) -> Answer:
        good, bad = (message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}}) for _ in "ab")
        return Answer(200, (("content-type", EVENTS),), [good, bad[:-1] + b"\0"])

    provider.respond = respond
    with instrument(guard=FakeGuard(), gateway=None), pytest.raises(UnreadableError, match="checksum"):
        KIT.perform(kind, provider, KIT.cases["converse stream"])
    with instrument(guard=FakeGuard(), mode="monitor", gateway=None), pytest.raises(ChecksumMismatch):
        KIT.perform(kind, provider, KIT.cases["converse stream"])


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_exception_in_a_stream_is_the_one_that_it_was(kind: str, provider: Server) -> None:
    from tests.codecs.messages import header

    told = header(":exception-type", "throttlingException") + header(":message-type", "exception")
    provider.respond = lambda seen: Answer(
        200, (("content-type", EVENTS),), [message(None, {"message": "slow down"}, extra=told)]
    )
    with instrument(guard=FakeGuard(), gateway=None), pytest.raises(EventStreamError, match="slow down"):
        KIT.perform(kind, provider, KIT.cases["converse stream"])


def test_what_a_span_says(provider: Server, highflame_spans: CapturedSpans) -> None:
    provider.respond = speaking()
    with instrument(guard=None, gateway=None), make("sync", provider.url) as clients:
        converse(clients)
        list(stream(clients)["stream"])
        clients.runtime.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "hi"}))[
            "body"
        ].read()
    names = [span.name for span in highflame_spans.finished]
    assert names == [f"chat {NOVA}", f"chat {NOVA}", "embeddings amazon.titan-embed-text-v2:0"]
    for span in highflame_spans.finished[:2]:
        assert span.attributes["gen_ai.provider.name"] == "aws.bedrock"
        assert span.attributes["gen_ai.request.model"] == NOVA
        assert span.attributes["gen_ai.usage.output_tokens"] == 2
        assert span.attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
