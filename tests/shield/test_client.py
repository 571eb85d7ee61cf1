"""The client against a real server: what it sends, what it makes of each answer, and what of each fault."""

from __future__ import annotations

import asyncio
import pickle
import socket
import time
from typing import Any

import httpx
import pytest

from highflame_middleware import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ConfigError,
    Decision,
    GuardError,
    GuardRequest,
    GuardTimeoutError,
    HighflameError,
    InvalidRequestError,
    InvalidResponseError,
    ModelContext,
    RateLimitError,
    Secret,
    Settings,
    Stage,
    ToolContext,
    instrument,
)
from tests.servers import Answer, Seen, json_answer
from tests.shield.kit import ALLOW, COLOURS, KEY, ScriptedShield, call, html, jwt, problem, slow

each_colour = pytest.mark.parametrize("colour", COLOURS)
RAW = "my card is 4111 1111 1111 1111"


def hanging(seen: Seen) -> Answer:
    return Answer(200, hang=True)


class TestAsking:
    @each_colour
    def test_a_prompt(self, there: ScriptedShield, colour: str) -> None:
        verdict = call(colour, there.client(), "guard.evaluate_prompt", "hello", session_id="s1")
        assert verdict.allowed
        (seen,) = there.asked
        assert (seen.method, seen.path) == ("POST", "/v1/shield/guard")
        assert seen.json == {
            "content": "hello",
            "content_type": "prompt",
            "action": "process_prompt",
            "mode": "enforce",
            "session_id": "s1",
        }
        assert seen.headers["authorization"] == "Bearer token-1"
        assert (seen.headers["x-account-id"], seen.headers["x-project-id"]) == ("acc", "pro")
        assert seen.headers["user-agent"].startswith("highflame-middleware/")
        assert there.exchanges[0].json == {"grant_type": "api_key", "api_key": KEY}

    @each_colour
    def test_a_tool_call(self, there: ScriptedShield, colour: str) -> None:
        call(colour, there.client(), "guard.evaluate_tool_call", "shell", {"b": 1, "a": "é"}, mode="monitor")
        assert there.asked[0].json == {
            "content": '{"a": "é", "b": 1}',
            "content_type": "tool_call",
            "action": "call_tool",
            "mode": "monitor",
            "session_id": "",
            "tool": {"name": "shell", "is_builtin": False, "arguments": {"b": 1, "a": "é"}},
        }

    def test_a_request_and_fields_beside_it(self, there: ScriptedShield) -> None:
        request = GuardRequest.at(Stage.TOOL_RESULT, "found", tool=ToolContext(name="search"))
        with there.client() as client:
            client.guard.evaluate(request, debug=True, model={"provider": "openai", "model": "m"})
        sent = there.asked[0].json
        assert (sent["content_type"], sent["debug"], sent["model"]) == (
            "response",
            True,
            {"provider": "openai", "model": "m"},
        )

    @each_colour
    def test_all_decisions(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [json_answer({"decision": "modify", "redacted_content": "my card is [CARD]"})]
        verdict = call(colour, there.client(), "guard.evaluate_prompt", RAW)
        assert (verdict.decision, verdict.redacted_content) == (Decision.MODIFY, "my card is [CARD]")

    @each_colour
    def test_detecting(self, there: ScriptedShield, colour: str) -> None:
        result = {"name": "pii", "status": "healthy", "tier": "fast", "latency_ms": 1, "context": {"pii_count": 1}}
        there.answers = [
            json_answer(
                {"context": {"pii_count": 1}, "detectors": [result], "latency_ms": 2, "tiers_evaluated": ["fast"]}
            )
        ]
        found = call(colour, there.client(), "detect.run", content=RAW, detectors=["pii"])
        assert (found.context, found.detectors[0].name, found.tiers_evaluated) == (
            {"pii_count": 1},
            "pii",
            ("fast",),
        )
        (seen,) = there.asked
        assert (seen.path, seen.json) == (
            "/v1/shield/detect",
            {"content": RAW, "content_type": "prompt", "detectors": ["pii"]},
        )

    @each_colour
    def test_the_detectors(self, there: ScriptedShield, colour: str) -> None:
        listed = {
            "name": "pii",
            "tier": "fast",
            "status": "healthy",
            "version": "1",
            "context_keys": [{"key": "k"}],
        }
        there.answers = [json_answer({"count": 1, "detectors": [listed]})]
        (found,) = call(colour, there.client(), "detectors.list")
        assert (found.name, found.context_keys) == ("pii", ("k",))
        (seen,) = there.asked
        assert (seen.method, seen.path) == ("GET", "/v1/shield/detectors")
        assert "idempotency-key" not in seen.headers

    @each_colour
    def test_the_policies_of_a_product_with_an_odd_name(self, there: ScriptedShield, colour: str) -> None:
        """Defect S: the product is escaped."""
        policy = {"policy_id": "p", "policy_name": "n", "mode": "enforce", "rule_ids": ["a"], "labels": {}}
        there.answers = [
            json_answer({"has_policies": True, "policies": [policy], "policy_count": 1, "product": "x"})
        ]
        found = call(colour, there.client(), "debug.policies", product="a&b=c/d ö")
        assert (found.has_policies, found.policies[0].rule_ids, found.policies[0].extra) == (
            True,
            ("a",),
            {"labels": {}},
        )
        assert there.asked[0].path == "/v1/shield/debug/policies?product=a%26b%3Dc%2Fd%20%C3%B6"

    @each_colour
    def test_usage(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [json_answer({"cost_micros": 12, "priced": True, "recorded": True})]
        found = call(
            colour,
            there.client(),
            "usage.report",
            model="gpt-4o",
            provider="openai",
            input_tokens=9,
            output_tokens=0,
            usage_id="u1",
        )
        assert (found.cost_micros, found.priced, found.recorded) == (12, True, True)
        assert there.asked[0].json == {
            "model": {"model": "gpt-4o", "provider": "openai", "input_tokens": 9},
            "usage_id": "u1",
        }

    def test_usage_without_an_id_makes_one_up(self, there: ScriptedShield) -> None:
        there.answers = [json_answer({"recorded": True})]
        with there.client() as client:
            client.usage.report(model="m")
            client.usage.report(model="m")
        first, second = (seen.json["usage_id"] for seen in there.asked)
        assert first != second

    def test_headers_and_ids(self, there: ScriptedShield) -> None:
        with there.client(
            account_id="a", project_id="p", product="sentry", default_headers={"X-Team": "core"}
        ) as client:
            client.guard.evaluate_prompt("x")
        headers = there.asked[0].headers
        names = ("x-account-id", "x-project-id", "x-product", "x-team")
        assert [headers[name] for name in names] == ["a", "p", "sentry", "core"]
        assert "x-team" not in there.exchanges[0].headers

    @pytest.mark.parametrize("prefix", ["", "/prefix", "/prefix/"])
    def test_a_path_of_the_base_url_is_kept(self, there: ScriptedShield, prefix: str) -> None:
        with there.client(base_url=there.url + prefix) as client:
            client.guard.evaluate_prompt("x")
        assert there.asked[0].path == prefix.rstrip("/") + "/v1/shield/guard"

    def test_the_trace_goes_along(self, there: ScriptedShield) -> None:
        from opentelemetry.sdk.trace import TracerProvider

        with there.client() as client, TracerProvider().get_tracer("t").start_as_current_span("s") as span:
            client.guard.evaluate_prompt("x")
        assert format(span.get_span_context().trace_id, "032x") in there.asked[0].headers["traceparent"]
        assert "traceparent" not in there.exchanges[0].headers


FAULTS: dict[str, tuple[Any, type[HighflameError], str, bool]] = {
    "500": (problem(500), APIError, "Shield answered 500 Internal Server Error", True),
    "503": (problem(503), APIError, "503 Service Unavailable", True),
    "a proxy's page": (html(502), APIError, "502 Bad Gateway", True),
    "a page as a verdict": (html(200), InvalidResponseError, "is not JSON", True),
    "no decision": (json_answer({"ok": True}), InvalidResponseError, "holds no decision", True),
    "a list": (json_answer([1]), InvalidResponseError, "holds no decision", True),
    "half of JSON": (json_answer(b'{"decision": "al'), InvalidResponseError, "is not JSON", True),
    "no UTF-8": (json_answer(b'{"decision": "\xff"}'), InvalidResponseError, "is not JSON", True),
    "deeply nested": (json_answer(b"[" * 100_000), InvalidResponseError, "is not JSON", True),
    "an empty answer": (json_answer(b""), InvalidResponseError, "is not JSON", True),
    "422": (problem(422), APIError, "422 Unprocessable", False),
    "404": (html(404), APIError, "404 Not Found", False),
    "403": (problem(403), APIError, "403 Forbidden", False),
    "403 that would allow": (json_answer({"decision": "allow"}, 403), APIError, "403 Forbidden", False),
    "401 that would allow": (json_answer(ALLOW, 401), AuthenticationError, "does not take the key", False),
    "500 that would allow": (json_answer(ALLOW, 500), APIError, "500 Internal", True),
    "401 twice": (problem(401), AuthenticationError, "does not take the key or token", False),
    "a redirect": (json_answer({}, 307, location="http://127.0.0.1:9/"), APIError, "307 Temporary", False),
    "429": (problem(429), RateLimitError, "429 Too Many Requests", True),
    "a broken connection": (lambda seen: Answer(200, length=50, cut=True), APIConnectionError, "broke off", True),
    "a compressed lie": (
        json_answer(b"not gzip", content_encoding="gzip"),
        InvalidResponseError,
        "compressed its answer",
        True,
    ),
}


class TestFaults:
    @each_colour
    @pytest.mark.parametrize("name", FAULTS)
    def test_each_is_an_error_of_its_own(self, there: ScriptedShield, name: str, colour: str) -> None:
        answer, kind, words, forgivable = FAULTS[name]
        there.answers = [answer]
        with there.client(max_retries=1) as client, pytest.raises(kind, match=words) as caught:
            call(colour, client, "guard.evaluate_prompt", RAW)
        error = caught.value
        assert type(error) is kind
        assert isinstance(error, GuardError)
        assert error.forgivable is forgivable
        assert RAW not in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.forgivable) == (kind, str(error), forgivable)

    @each_colour
    def test_nobody_there(self, there: ScriptedShield, colour: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            client = there.client(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
            with client, pytest.raises(APIConnectionError, match="cannot be reached"):
                call(colour, client, "guard.evaluate_prompt", "x")

    @each_colour
    def test_a_connection_that_fails_is_tried_again(self, there: ScriptedShield, colour: str) -> None:
        """Defect S: with the same key of idempotency."""
        there.answers = [lambda seen: Answer(200, length=9, cut=True), problem(503), json_answer(ALLOW)]
        assert call(colour, there.client(), "guard.evaluate_prompt", "x").allowed
        keys = [seen.headers["idempotency-key"] for seen in there.asked]
        assert len(keys) == 3
        assert len(set(keys)) == 1
        assert call("blocking", there.client(), "guard.evaluate_prompt", "x").allowed
        assert there.asked[3].headers["idempotency-key"] != keys[0]

    @each_colour
    def test_what_retries_do_not_help_is_not_tried_again(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [problem(422)]
        with pytest.raises(APIError):
            call(colour, there.client(), "guard.evaluate_prompt", "x")
        assert len(there.asked) == 1

    @each_colour
    def test_a_hanging_answer_ends_with_the_total(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [hanging]
        began = time.monotonic()
        with pytest.raises(GuardTimeoutError, match="gave no"):
            call(colour, there.client(), "guard.evaluate_prompt", "x", timeout=0.4)
        assert time.monotonic() - began < 1.5

    @each_colour
    def test_an_answer_drop_by_drop_ends_with_the_total(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [lambda seen: Answer(200, chunks=[b" "] * 100, interval=0.05)]
        began = time.monotonic()
        with pytest.raises(GuardTimeoutError):
            call(colour, there.client(), "guard.evaluate_prompt", "x", timeout=0.4)
        assert time.monotonic() - began < 1.5

    @each_colour
    def test_the_total_counts_retries_and_exchange(self, there: ScriptedShield, colour: str) -> None:
        """Defect S: the worst case is what was asked for."""
        there.tokens = [slow(0.2, json_answer({"access_token": "t", "expires_in": 60}))]
        there.answers = [slow(0.15, problem(503))]
        began = time.monotonic()
        with pytest.raises((GuardTimeoutError, APIError)):
            call(colour, there.client(max_retries=10), "guard.evaluate_prompt", "x", timeout=0.8)
        assert time.monotonic() - began < 1.6

    @each_colour
    def test_retry_after_is_kept_to(self, there: ScriptedShield, colour: str) -> None:
        """Defect B: 429 is a RateLimitError, and the service says when."""
        there.answers = [json_answer({}, 429, retry_after="1"), json_answer(ALLOW)]
        began = time.monotonic()
        assert call(colour, there.client(), "guard.evaluate_prompt", "x").allowed
        assert time.monotonic() - began >= 0.95

    @each_colour
    def test_retry_after_beyond_the_total_is_not_waited_for(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [json_answer({}, 429, retry_after="120")]
        began = time.monotonic()
        with pytest.raises(RateLimitError) as caught:
            call(colour, there.client(), "guard.evaluate_prompt", "x", timeout=5)
        assert caught.value.retry_after == 120.0
        assert time.monotonic() - began < 2
        assert len(there.asked) == 1

    @pytest.mark.parametrize("retries", [0, 2])
    def test_too_often_is_a_rate_limit(self, there: ScriptedShield, retries: int) -> None:
        there.answers = [problem(429)]
        with there.client(max_retries=retries) as client, pytest.raises(RateLimitError):
            client.guard.evaluate_prompt("x")
        assert len(there.asked) == retries + 1

    @each_colour
    def test_an_endless_answer_is_none(
        self, there: ScriptedShield, colour: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("highflame_middleware.shield.transport.MAX_REPLY", 10_000)
        there.answers = [lambda seen: Answer(200, chunks=[b" " * 1000] * 100)]
        with pytest.raises(InvalidResponseError, match="more than 10000 bytes"):
            call(colour, there.client(), "guard.evaluate_prompt", "x")

    def test_a_host_that_keeps_failing_is_left_alone(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.answers = [problem(500)]
        with there.client(max_retries=0) as client:
            for _ in range(5):
                with pytest.raises(APIError):
                    client.guard.evaluate_prompt("x")
            with pytest.raises(APIConnectionError, match="failed 5 times running, and is left alone"):
                client.guard.evaluate_prompt("x")
            assert len(there.asked) == 5
            monkeypatch.setattr("highflame_middleware.shield.circuit.monotonic", lambda: time.monotonic() + 6)
            there.answers = [json_answer(ALLOW)]
            assert client.guard.evaluate_prompt("x").allowed
            assert client.guard.evaluate_prompt("x").allowed

    def test_one_tries_while_the_others_are_refused(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.answers = [problem(500)]
        client = there.client(max_retries=0)
        for _ in range(5):
            with pytest.raises(APIError):
                client.guard.evaluate_prompt("x")
        monkeypatch.setattr("highflame_middleware.shield.circuit.SECONDS", 0.0)
        monkeypatch.setattr("highflame_middleware.shield.circuit.monotonic", lambda: time.monotonic() + 6)
        there.answers = [slow(0.3, json_answer(ALLOW))]

        async def main() -> list[Any]:
            asks = [client.guard.aevaluate_prompt("x") for _ in range(4)]
            found = await asyncio.gather(*asks, return_exceptions=True)
            await client.aclose()
            return found

        found = asyncio.run(main())
        assert sorted(type(item).__name__ for item in found) == ["APIConnectionError"] * 3 + ["GuardResponse"]

    def test_one_that_was_cancelled_says_nothing_of_the_host(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.answers = [problem(500)]
        client = there.client(max_retries=0)
        for _ in range(5):
            with pytest.raises(APIError):
                client.guard.evaluate_prompt("x")
        monkeypatch.setattr("highflame_middleware.shield.circuit.monotonic", lambda: time.monotonic() + 6)
        there.answers = [hanging]

        async def main() -> None:
            task = asyncio.ensure_future(client.guard.aevaluate_prompt("x"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            there.answers = [json_answer(ALLOW)]
            assert (await client.guard.aevaluate_prompt("x")).allowed
            await client.aclose()

        asyncio.run(main())


STEP_UP = {"decision": "step_up", "policy_reason": "needs approval", "auth_req_id": "q1", "interval": 1}
CHALLENGE = 'Bearer error="insufficient_user_authentication", acr_values="urn:highflame:aarm:step_up"'
SUSPENDED: dict[str, tuple[Any, Decision]] = {
    "step_up with a verdict": (json_answer(STEP_UP, 401), Decision.STEP_UP),
    "step_up with a challenge": (json_answer({}, 401, www_authenticate=CHALLENGE), Decision.STEP_UP),
    "a challenge that says allow": (json_answer(ALLOW, 401, www_authenticate=CHALLENGE), Decision.STEP_UP),
    "defer with a verdict": (json_answer({"decision": "defer"}, 425), Decision.DEFER),
    "defer as a problem": (problem(425, type="https://aarm.dev/defer/pending"), Decision.DEFER),
    "defer without a word": (html(425), Decision.DEFER),
    "defer that says allow": (json_answer(ALLOW, 425), Decision.DEFER),
    "defer whose time is up": (problem(403, type="https://aarm.dev/defer/timeout"), Decision.DEFER),
    "defer as 403": (json_answer({"decision": "defer"}, 403), Decision.DEFER),
    "deny as 403": (json_answer({"decision": "deny"}, 403), Decision.DENY),
    "a word of tomorrow as 403": (json_answer({"decision": "quarantine"}, 403), Decision.DENY),
}


class TestSuspensions:
    @each_colour
    @pytest.mark.parametrize("name", SUSPENDED)
    def test_each_is_a_verdict(self, there: ScriptedShield, name: str, colour: str) -> None:
        """Defect D: a defer as RFC 9457 is a verdict; nothing that stops becomes an error that may pass."""
        answer, decision = SUSPENDED[name]
        there.answers = [answer]
        verdict = call(colour, there.client(), "guard.evaluate_prompt", "x")
        assert verdict.decision is decision
        assert not verdict.allowed
        # A 401 of that kind says nothing against the token.
        assert len(there.exchanges) == 1

    def test_the_challenge_is_told(self, there: ScriptedShield) -> None:
        there.answers = [json_answer(STEP_UP, 401, www_authenticate=CHALLENGE)]
        verdict = there.client().guard.evaluate_prompt("x")
        assert verdict.challenge is not None
        assert (verdict.challenge.auth_req_id, verdict.challenge.www_authenticate) == ("q1", CHALLENGE)


BAD: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "nothing": ("guard.evaluate", (), {}, "give a GuardRequest, or content="),
    "a dict for a request": ("guard.evaluate", ({"content": RAW},), {}, "the request is dict"),
    "a field misspelt": ("guard.evaluate_prompt", ("x",), {"debgu": True}, "did you mean 'debug'"),
    "an unknown mode": ("guard.evaluate_prompt", ("x",), {"mode": "watch"}, "mode must be one of enforce"),
    "no text": ("guard.evaluate_prompt", (7,), {}, "content must be a string"),
    "an empty text": ("guard.evaluate_prompt", ("",), {}, "content must not be empty"),
    "a content type": (
        "guard.evaluate",
        (),
        {"content": "x", "content_type": "poem", "action": "a"},
        "content_type must be one of prompt",
    ),
    "a session of another type": (
        "guard.evaluate_prompt",
        ("x",),
        {"session_id": 7},
        "session_id must be a string",
    ),
    "a model that is none": ("guard.evaluate_prompt", ("x",), {"model": "gpt"}, "str is no ModelContext"),
    "a model with other fields": ("guard.evaluate_prompt", ("x",), {"model": {"name": "m"}}, "other fields"),
    "one detector as a string": ("guard.evaluate_prompt", ("x",), {"detectors": "pii"}, "lists of strings"),
    "arguments as a list": ("guard.evaluate_tool_call", ("t", [1]), {}, "a mapping of arguments"),
    "usage without a model": ("usage.report", (), {"input_tokens": 1}, "needs model="),
    "usage with half a token": ("usage.report", (), {"model": "m", "input_tokens": 1.5}, "a whole number"),
    "usage misspelt": ("usage.report", (), {"model": "m", "inputtokens": 1}, "did you mean 'input_tokens'"),
    "no text to detect in": ("detect.run", (), {"content": ""}, "content must not be empty"),
}


@each_colour
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_asked_is_told_before_it_leaves(there: ScriptedShield, name: str, colour: str) -> None:
    """Defect N: and as one error of this library, which is a ValueError too."""
    method, args, given, words = BAD[name]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        call(colour, there.client(), method, *args, **given)
    assert isinstance(caught.value, ConfigError | ValueError)
    assert RAW not in str(caught.value)
    assert there.server.log == []


def test_our_own_questions_are_no_calls_to_be_guarded(there: ScriptedShield) -> None:
    """Where every host is routed, and plain HTTP is caught, Shield's own are left alone."""
    guarded: list[GuardRequest] = []

    def watch(request: GuardRequest) -> bool:
        guarded.append(request)
        return False

    settings = Settings(
        guard=watch,
        gateway="openai-compatible",
        base_url="http://127.0.0.1:9/v1",
        carries=("*",),
        reroute_hosts=("*",),
    )
    with instrument(settings=settings), there.client(base_url=there.url + "/v1/chat/completions") as client:
        assert client.guard.evaluate_prompt("x").allowed
        with pytest.raises(HighflameError), httpx.Client() as own:
            # … while a call by the same library is caught.
            own.post(f"{there.url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert [request.content for request in guarded] == ["hi"]


class TestStepUp:
    @each_colour
    def test_the_answer_is_waited_for(self, there: ScriptedShield, colour: str) -> None:
        """Defect E: who is asked to prove something has somebody to wait for the proof."""
        pending = json_answer({"error": "authorization_pending"}, 400)
        there.answers = [json_answer({**STEP_UP, "interval": 0.05, "expires_in": 30}, 401), json_answer(ALLOW)]
        client = there.client(api_key=jwt(sub="a"))
        verdict = call("blocking", client, "guard.evaluate_prompt", "x")
        there.tokens = [pending, html(502), pending, json_answer({"access_token": "upgraded", "expires_in": 900})]
        token = call(colour, client, "guard.await_step_up", verdict)
        assert token == Secret("upgraded")
        assert "upgraded" not in repr(token)
        assert there.exchanges[0].json == {
            "grant_type": "urn:openid:params:grant-type:ciba",
            "auth_req_id": "q1",
        }
        assert call(colour, client, "guard.evaluate_prompt", "x", token=token).allowed
        assert there.asked[-1].headers["authorization"] == "Bearer upgraded"

    @each_colour
    @pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant", "invalid_request"])
    def test_a_no_is_final(self, there: ScriptedShield, code: str, colour: str) -> None:
        from highflame_middleware.types import Challenge

        there.tokens = [json_answer({"error": code, "error_description": "no"}, 400)]
        with pytest.raises(APIError) as caught:
            call(colour, there.client(), "guard.await_step_up", Challenge(auth_req_id="q", interval=0.05))
        assert (caught.value.title, caught.value.forgivable) == (code, False)
        assert len(there.exchanges) == 1

    @each_colour
    @pytest.mark.parametrize("bound", ["expires_in", "timeout"])
    def test_it_ends_with_its_time(self, there: ScriptedShield, bound: str, colour: str) -> None:
        from highflame_middleware.types import Challenge

        there.tokens = [json_answer({"error": "authorization_pending"}, 400)]
        ends = 0.4 if bound == "expires_in" else 60.0
        challenge = Challenge(auth_req_id="q", interval=0.1, expires_in=ends)
        began = time.monotonic()
        with pytest.raises(GuardTimeoutError, match=r"was not answered within 0\.4 s"):
            call(
                colour,
                there.client(),
                "guard.await_step_up",
                challenge,
                timeout=0.4 if bound == "timeout" else None,
            )
        assert time.monotonic() - began < 1.5
        assert 2 <= len(there.exchanges) <= 4

    def test_slow_down_is_kept_to(self, there: ScriptedShield) -> None:
        from highflame_middleware.types import Challenge

        there.tokens = [json_answer({"error": "slow_down"}, 400)]
        with pytest.raises(GuardTimeoutError):
            there.client().guard.await_step_up(Challenge(auth_req_id="q", interval=0.05, expires_in=3.0))
        assert len(there.exchanges) == 1

    def test_a_verdict_without_a_challenge_cannot_be_answered(self, there: ScriptedShield) -> None:
        verdict = there.client().guard.evaluate_prompt("x")
        with pytest.raises(InvalidRequestError, match="auth_req_id is missing"):
            there.client().guard.await_step_up(verdict)


def test_the_model_context_reaches_the_wire(there: ScriptedShield) -> None:
    there.client().guard.evaluate_prompt("x", model=ModelContext(model="m", input_tokens=3))
    assert there.asked[0].json["model"] == {"model": "m", "input_tokens": 3}
