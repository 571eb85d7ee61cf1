"""Routing on the wire: real SDKs, a gateway that logs what it gets, and a provider that must not get it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

import openai
import pytest

from highflame_middleware import BlockedError, UnsupportedError, context
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits.openai import CASES, KIT, MESSAGES, speaking
from tests.servers import Answer, Server, json_answer

Start = Callable[..., Instrumentation]

pytestmark = pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning")

anthropic: Any = pytest.importorskip("anthropic")
claude: Any = pytest.importorskip("tests.instrumentation.kits.anthropic")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def claudes_key(headers: dict[str, str]) -> str | None:
    """The client's own key, wherever its version puts it: since 2.12 it is a bearer token."""
    return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None


def ask_claude(kind: str, server: Server, **options: Any) -> Any:
    return claude.KIT.perform(kind, server, claude.CASES["messages"], **options)


# ------------------------------------------------------------------------------------------------- other formats


AT: dict[str, tuple[str, dict[str, str], str]] = {
    "highflame": (
        "/v1/messages",
        {"x-highflame-apikey": "gw-key"},
        "anthropic/claude",
    ),
    "highflame-v2": (
        "/v1/model/messages",
        {"x-highflame-apikey": "gw-key", "x-javelin-apikey": "gw-key"}
        | dict.fromkeys(("x-highflame-route", "x-javelin-route"), "anthropic_univ")
        | dict.fromkeys(("x-highflame-model", "x-javelin-model"), "claude"),
        "claude",
    ),
    "portkey": (
        "/v1/messages",
        {"x-portkey-api-key": "gw-key", "x-portkey-provider": "anthropic"},
        "claude",
    ),
    "openai-compatible": ("/v1/messages", {"authorization": "Bearer gw-key", "x-api-key": ""}, "claude"),
}


@pytest.mark.parametrize("dialect", AT)
def test_messages_at_each_gateway(
    dialect: str, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    path, headers, model = AT[dialect]
    gateway.respond = claude.speaking(None)
    routed(
        gateway=dialect,
        api_key="gw-key",
        guard=FakeGuard(redact=["SECRET"]),
        carries=("anthropic",) if dialect == "openai-compatible" else (),
    )
    reply = ask_claude(kind, provider)
    assert "SECRET" not in claude.spoken(reply)
    assert provider.log == []
    (seen,) = gateway.log
    assert (seen.path, seen.json["model"]) == (path, model)
    assert {name: seen.headers.get(name, "") for name in headers} == headers
    assert claudes_key(seen.headers) == ("gw-key" if dialect == "openai-compatible" else "sk-provider")
    assert "anthropic-version" in seen.headers


def test_what_a_gateway_does_not_carry_goes_past_it(
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider.respond = claude.speaking(None)
    handle = routed(api_key="gw-key", guard=FakeGuard(redact=["SECRET"]), carries=(), headers={"x-team": "core"})
    with caplog.at_level(logging.WARNING, "highflame_middleware"):
        for _ in range(2):
            assert "SECRET" not in claude.spoken(ask_claude(kind, provider)), "guarded all the same"
    assert gateway.log == []
    for seen in provider.log:
        assert claudes_key(seen.headers) == "sk-provider", "the client's own key, to its own host"
        assert "x-team" not in seen.headers, "the gateway's headers are for the gateway"
        assert "SECRET" not in seen.body.decode()
    assert len(highflame_spans.finished) == 2
    assert [span.attributes["highflame.gateway.unsupported"] for span in highflame_spans.finished] == [
        "anthropic-messages"
    ] * 2
    warned = [record.message for record in caplog.records if "does not carry" in record.message]
    assert len(warned) == 1, "once, not once a call"
    status = handle.status()["anthropic"]
    assert status.direct == ("anthropic-messages",)
    assert str(status).endswith("past the gateway: anthropic-messages")
    assert handle.status()["openai"].direct == ()


def test_what_a_gateway_does_not_carry_is_refused_where_that_is_the_policy(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    guard = FakeGuard()
    routed(guard=guard, carries=(), on_unsupported="refuse")
    with pytest.raises(UnsupportedError, match=r"openai-compatible gateway does not carry .* anthropic-messages"):
        ask_claude(kind, provider, max_retries=2)
    assert (provider.log, gateway.log, guard.requests) == ([], [], [])
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.UnsupportedError"
    gateway.respond = speaking()
    KIT.perform(kind, provider, CASES["chat"])
    assert (provider.log, len(gateway.log)) == ([], 1)


def test_formats_that_the_gateway_in_this_process_cannot_carry(kind: str, provider: Server) -> None:
    from highflame_middleware import Settings, instrument

    provider.respond = claude.speaking(None)
    embedded = {"gateway": "embedded", "providers": {"echo": {"scripts": [{"text": "Hi."}]}}, "guard": None}
    with instrument(settings=Settings(**embedded, reroute_hosts=("*",))) as handle:
        ask_claude(kind, provider)
        assert handle.status()["anthropic"].direct == ("anthropic-messages",)
        assert KIT.perform(kind, provider, CASES["chat"]).choices[0].message.content == "Hi."
    assert [seen.path for seen in provider.log] == ["/v1/messages"]
    with instrument(settings=Settings(**embedded, reroute_hosts=("*",), on_unsupported="refuse")):
        with pytest.raises(UnsupportedError, match="embedded"):
            ask_claude(kind, provider)


def test_a_signature_leaves_with_no_other_key(provider: Server, gateway: Server, routed: Start) -> None:
    """A client that signs for Amazon, sent to a gateway that cannot: neither its signature nor its session goes."""
    pytest.importorskip("boto3")
    gateway.respond = claude.speaking(None)
    routed(api_key=None, carries=("anthropic",))
    client = anthropic.AnthropicBedrock(
        base_url=provider.url,
        aws_access_key="AKIAEXAMPLE",
        aws_secret_key="hush",
        aws_session_token="session",
        aws_region="us-east-1",
        max_retries=0,
    )
    with client:
        client.messages.create(model="claude", max_tokens=1, messages=MESSAGES)
    assert provider.log == []
    (seen,) = gateway.log
    assert not [name for name in seen.headers if name == "authorization" or name.startswith("x-amz-")]


ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-sonnet-20240229-v1:0"


def bedrock(server: Server) -> Any:
    boto3 = pytest.importorskip("boto3")
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="hush",
        aws_session_token="session",
    )


def converse(client: Any) -> Any:
    return client.converse(modelId=ARN, messages=[{"role": "user", "content": [{"text": "Hello."}]}])


CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


def test_bedrock_at_a_header_routed_gateway(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = json_answer(
        {**CONVERSED, "javelin": {"processor_outputs": {"request.chain.x": {"flagged": True}}}}
    )
    routed(gateway="javelin", api_key="gw-key", guard=FakeGuard(), carries=())
    assert converse(bedrock(provider))["output"]["message"]["content"][0]["text"] == "Hi."
    assert provider.log == []
    (seen,) = gateway.log
    encoded = ARN.replace(":", "%3A").replace("/", "%2F")
    assert seen.path == f"/v1/model/{encoded}/converse", "as it was encoded, and signed"
    told = {
        "apikey": "gw-key",
        "route": "awsbedrock",
        "provider": provider.url,
        "model": ARN.replace("-20240229-", "-"),
    }
    for name, value in told.items():
        assert seen.headers[f"x-highflame-{name}"] == seen.headers[f"x-javelin-{name}"] == value
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 "), "for Amazon's host, to be passed on there"
    assert seen.headers["x-amz-security-token"] == "session"


def test_bedrock_past_a_gateway_that_never_signs(provider: Server, gateway: Server, routed: Start) -> None:
    provider.respond = json_answer(CONVERSED)
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard(), carries=())
    converse(bedrock(provider))
    assert gateway.log == []
    (seen,) = provider.log
    assert not [name for name in seen.headers if name.startswith(("x-highflame-", "x-javelin-"))]


@pytest.mark.parametrize("status", [200, 403, 429])
def test_bedrock_refused_by_the_gateway(status: int, provider: Server, gateway: Server, routed: Start) -> None:
    flagged = {"processor_outputs": {"request.chain.x": {"flagged": True}}}
    gateway.respond = json_answer({"choices": [{"message": {"content": "Rejected."}}], "javelin": flagged}, status)
    routed(gateway="javelin", api_key="gw-key", carries=())
    with pytest.raises(BlockedError, match="Rejected"):
        converse(bedrock(provider))
    assert (provider.log, len(gateway.log)) == ([], 1)


# ------------------------------------------------------------------------------------------------- portkey


def test_azure_through_portkey(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    routed(gateway="portkey", api_key="pk", carries=())
    client = openai.AzureOpenAI(api_key="az-key", api_version="2024-06-01", azure_endpoint=provider.url)
    with client:
        client.chat.completions.create(model="my dep", messages=MESSAGES)
    (seen,) = gateway.log
    assert seen.path == "/v1/chat/completions"
    assert {name: value for name, value in seen.headers.items() if "portkey" in name} == {
        "x-portkey-api-key": "pk",
        "x-portkey-provider": "azure-openai",
        "x-portkey-custom-host": f"{provider.url}/openai",
        "x-portkey-azure-deployment-id": "my%20dep",
        "x-portkey-azure-api-version": "2024-06-01",
    }
    assert seen.headers["authorization"] == "Bearer az-key"
    assert "api-key" not in seen.headers
    assert provider.log == []


def test_a_virtual_key_leaves_the_clients_key_at_home(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking()
    routed(gateway="portkey", api_key="pk", virtual_api_key="vk", headers={"X-Team": "core"})
    KIT.perform(kind, provider, CASES["chat"])
    (seen,) = gateway.log
    assert "authorization" not in seen.headers
    assert (seen.headers["x-portkey-virtual-key"], seen.headers["x-team"]) == ("vk", "core")


# ------------------------------------------------------------------------------------------------- per call


def test_a_route_and_a_key_for_one_call_or_one_client(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    routed(gateway="javelin", api_key="gw-key", route="setting")
    with KIT.make("sync", provider.url, default_headers={"x-javelin-apikey": "its-own"}) as client:
        ask = client.chat.completions.create
        ask(model="m", messages=MESSAGES)
        with context(route="context"):
            ask(model="m", messages=MESSAGES)
            ask(model="m", messages=MESSAGES, extra_headers={"X-Highflame-Route": "call"})
    assert [seen.headers["x-highflame-route"] for seen in gateway.log] == ["setting", "context", "call"]
    for seen in gateway.log:
        assert seen.headers["x-javelin-route"] == seen.headers["x-highflame-route"]
        assert seen.headers["x-javelin-apikey"] == seen.headers["x-highflame-apikey"] == "its-own"


def test_sixteen_threads_and_not_one_header_of_another(provider: Server, gateway: Server, routed: Start) -> None:
    """Many threads over several clients, each call with a route, a key, a user and a model of its own."""
    routed(gateway="highflame-v2", api_key="shared")
    content = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}'
    gateway.respond = lambda seen: Answer(chunks=[content], length=len(content))
    threads, calls = 16, 200
    clients = [KIT.make("sync", provider.url, api_key=f"sk-{number}") for number in range(4)]
    faults: list[BaseException] = []

    def work(number: int) -> None:
        client = clients[number % len(clients)]
        own = client.with_options(default_headers={"x-highflame-apikey": f"key-{number}"}) if number % 3 else client
        try:
            for turn in range(calls):
                with context(user=f"user-{number}", route=f"route-{number}-{turn}", role=f"role-{number}"):
                    own.chat.completions.create(
                        model=f"model-{number}-{turn}", messages=MESSAGES, extra_body={"tag": f"{number}-{turn}"}
                    )
        except BaseException as error:
            faults.append(error)

    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    for client in clients:
        client.close()
    assert faults == []
    assert provider.log == []
    assert {seen.json["tag"] for seen in gateway.log} == {f"{n}-{t}" for n in range(threads) for t in range(calls)}
    assert len(gateway.log) == threads * calls
    for seen in gateway.log:
        tag = seen.json["tag"]
        number = int(tag.partition("-")[0])
        told = {
            "route": f"route-{tag}",
            "model": f"model-{tag}",
            "user": f"user-{number}",
            "userrole": f"role-{number}",
            "apikey": f"key-{number}" if number % 3 else "shared",
            "provider": f"{provider.url}/v1",
        }
        expected = {
            f"x-{family}-{name}": value for family in ("highflame", "javelin") for name, value in told.items()
        }
        assert {name: value for name, value in seen.headers.items() if name in expected} == expected
        assert seen.headers["authorization"] == f"Bearer sk-{number % len(clients)}"
        assert seen.json["model"] == f"model-{tag}"


# ------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("dialect", ["highflame", "highflame-v2", "portkey", "openai-compatible"])
def test_a_redirect_away_from_the_gateway_takes_nothing_along(
    dialect: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = json_answer({}, 307, location=f"http://localhost:{provider.port}/elsewhere")
    provider.respond = claude.speaking(None)
    routed(gateway=dialect, api_key="gw-key", headers={"x-team": "core"})
    # What an SDK makes of the answer is its own affair.
    with suppress(Exception):
        ask_claude("sync", provider, default_headers={"x-portkey-config": "mine", "cookie": "c"})
    assert len(gateway.log) == 1
    assert provider.log, "the SDKs follow"
    for seen in provider.log:
        bad = (
            "authorization",
            "api-key",
            "x-api-key",
            "cookie",
            "x-team",
            "x-highflame-",
            "x-javelin-",
            "x-portkey-",
        )
        assert not [name for name in seen.headers if name.startswith(bad)]


# ------------------------------------------------------------------------------------------------- refusals

WORDS = "Highflame Security: Enterprise Policies Triggered: no-cards"


def completion(content: str, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields}


OLD = {"choices": [{"message": {"content": "Rejected."}}], "javelin": {"processor_outputs": {}}}
FLAGGED = {"processor_outputs": {"response.chain.dlp_gcp": {"flagged": True}}}
# dialect, what the gateway answers, and what is said of it.
REFUSALS: dict[str, tuple[str, Any, str]] = {
    "header": (
        "highflame",
        json_answer(completion(WORDS), x_highflame_policy_decision="deny"),
        f"Blocked at the prompt stage (deny): {WORDS}",
    ),
    "id": ("highflame", json_answer(completion("No.", id="chatcmpl-blocked-1")), "(deny): No."),
    "words": ("highflame", json_answer(completion(WORDS)), WORDS),
    "header and error": (
        "highflame",
        json_answer({"error": {"message": "No."}}, 403, x_highflame_policy_decision="step_up"),
        "(step_up): No.",
    ),
    "header and an error that SDKs try again": (
        "highflame",
        json_answer({"error": {"message": "No."}}, 429, x_highflame_policy_decision="deny", retry_after="20"),
        "(deny): No.",
    ),
    "older": ("javelin", json_answer(OLD), "(deny): Rejected."),
    "older, the other family": ("highflame-v2", json_answer(OLD), "(deny): Rejected."),
    "older, an error that SDKs try again": (
        "javelin",
        json_answer({"error": "Rejected.", "javelin": FLAGGED}, 409),
        "Blocked at the response stage (deny): Rejected.",
    ),
    "portkey": (
        "portkey",
        json_answer({"error": {"message": "Checks failed."}, "hook_results": {}}, 446),
        "Blocked at the prompt stage (deny): Checks failed.",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("guard", [None, "fake"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_gateways_refusal_is_raised_and_not_tried_again(
    name: str,
    guard: str | None,
    stream: bool,
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dialect, gateway.respond, said = REFUSALS[name]
    started = perf_counter()
    routed(gateway=dialect, api_key="gw-key", guard=FakeGuard() if guard else None)
    with (
        caplog.at_level(logging.WARNING, "highflame_middleware.guard"),
        pytest.raises(BlockedError) as caught,
    ):
        KIT.perform(kind, provider, CASES["chat stream" if stream else "chat"], max_retries=2)
    assert perf_counter() - started < 15, "nor waited for, to be tried again"
    assert str(caught.value).endswith(said)
    assert (provider.log, len(gateway.log)) == ([], 1)
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.BlockedError"
    events = [event for event in span.events if event.name == "highflame.guardrail.decision"]
    assert [event.attributes["highflame.guardrail.name"] for event in events] == [f"{dialect} gateway"]
    assert f"guard {dialect} gateway" in caplog.text


def in_events(*data: str) -> Any:
    return lambda seen: Answer(
        200, (("content-type", "text/event-stream"),), [f"data: {item}\n\n".encode() for item in data]
    )


CHUNK = (
    '{{"id":"{id}","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{{"index":0,"delta":{delta}}}]}}'
)
STREAMED = {
    "the id": in_events(
        CHUNK.format(id="chatcmpl-blocked-1", delta='{"role":"assistant"}'),
        CHUNK.format(id="chatcmpl-blocked-1", delta='{"content":"No."}'),
        "[DONE]",
    ),
    "the words": in_events(
        CHUNK.format(id="c", delta='{"role":"assistant"}'),
        CHUNK.format(id="c", delta=f'{{"content":"{WORDS}"}}'),
        "[DONE]",
    ),
}


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("guard", [None, "fake"])
def test_a_refusal_in_a_stream(
    name: str, guard: str | None, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = STREAMED[name]
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard() if guard else None)
    with pytest.raises(BlockedError):
        KIT.perform(kind, provider, CASES["chat stream"])
    assert len(gateway.log) == 1


def test_a_refusal_can_be_a_marked_reply(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = json_answer(completion(WORDS))
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard(), on_blocked="reply")
    raw = KIT.perform(kind, provider, CASES["chat raw"])
    assert raw.parse().choices[0].message.content == WORDS
    assert raw.headers["x-highflame-policy-decision"] == "deny"
    (span,) = highflame_spans.finished
    decisions = [event.attributes for event in span.events if event.name == "highflame.guardrail.decision"]
    assert [(found["highflame.guardrail.name"], found["highflame.guardrail.decision"]) for found in decisions] == [
        ("highflame gateway", "deny")
    ]
    assert "error.type" not in span.attributes


def test_a_marked_stream_goes_on_to_its_end(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = STREAMED["the words"]
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard(redact=["no-cards"]), on_blocked="reply")
    chunks = KIT.perform(kind, provider, CASES["chat stream"])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WORDS.replace(
        "no-cards", "[redacted]"
    )


def test_an_error_stays_an_error_where_refusals_are_replies(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = REFUSALS["header and error"][1]
    routed(gateway="highflame", api_key="gw-key", on_blocked="reply")
    with pytest.raises(openai.PermissionDeniedError):
        KIT.perform(kind, provider, CASES["chat"])


@pytest.mark.parametrize("name", ["chat", "chat stream", "responses stream", "embeddings", "images", "files list"])
def test_what_is_no_refusal_comes_through(
    name: str, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    case = CASES[name]
    gateway.respond = speaking()
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard(redact=["SECRET"]))
    result = KIT.perform(kind, provider, case)
    if case.text is not None:
        assert "[redacted]" in case.text(result)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_providers_error_comes_through(
    status: int, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = json_answer({"error": {"message": "blocked by nobody", "code": "c"}}, status)
    routed(gateway="highflame", api_key="gw-key", guard=FakeGuard())
    with pytest.raises(openai.APIStatusError) as caught:
        KIT.perform(kind, provider, CASES["chat"])
    assert (caught.value.status_code, caught.value.code) == (status, "c")
    assert len(gateway.log) == 1


def test_errors_that_are_none_of_the_gateways_are_tried_again(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    answers = iter([json_answer({"error": {"message": "slow down"}}, 429, retry_after="0"), speaking()])
    gateway.respond = lambda seen: next(answers)(seen)
    routed(gateway="javelin", api_key="gw-key", guard=FakeGuard(redact=["SECRET"]))
    reply = KIT.perform(kind, provider, CASES["chat"], max_retries=1)
    assert "[redacted]" in reply.choices[0].message.content
    assert len(gateway.log) == 2


def test_a_gateway_of_another_dialect_is_taken_at_its_word(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = json_answer(completion(WORDS, id="chatcmpl-blocked-1"))
    routed(guard=FakeGuard())
    assert KIT.perform(kind, provider, CASES["chat"]).choices[0].message.content == WORDS


def test_refusals_in_messages(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    body = claude.message({"type": "text", "text": WORDS})
    gateway.respond = json_answer({**body, "id": "msg_blocked_1"})
    routed(gateway="highflame", api_key="gw-key")
    with pytest.raises(BlockedError, match="no-cards"):
        ask_claude(kind, provider, max_retries=2)
    assert len(gateway.log) == 1
