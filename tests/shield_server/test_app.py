"""Shield's door over ASGI: paths, keys, bodies, bounds, and what is said when something is wrong."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from highflame_middleware import ConfigError
from highflame_middleware.engine.ruleset import BuiltInRules
from highflame_middleware.shield_server import Front, Key, Price, ShieldApp
from highflame_middleware.testing import serve_on_thread
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Mode
from tests.shield_server.kit import ASKED, BEARER, KEY, SECRET, Says, asking

ALLOW = GuardResponse(decision=Decision.ALLOW)
_STEP_UP = GuardResponse(decision=Decision.STEP_UP)
JSON = {"content-type": "application/json"}


def _is_problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], "title" in body, "decision" in body) == (status, True, False)
    detail: str = body["detail"]
    return detail


# --- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/v1/shield", "/v1"])
async def test_every_path_under_both_names(base: str) -> None:
    async with asking(ShieldApp(keys=[KEY]), headers=BEARER) as client:
        assert (await client.post(f"{base}/guard", json=ASKED)).json()["decision"] == "allow"
        assert "event: decision" in (await client.post(f"{base}/guard/stream", json=ASKED)).text
        assert "detectors" in (await client.post(f"{base}/detect", json=ASKED)).json()
        usage = {"usage_id": "u", "model": {"model": "m"}}
        assert (await client.post(f"{base}/usage", json=usage)).json()["recorded"] is True
        assert (await client.get(f"{base}/detectors")).json()["count"] > 0
        assert (await client.get(f"{base}/debug/policies?product=guardrails")).json()["has_policies"] is True
        assert (await client.get(f"{base}/health")).json()["status"] == "healthy"
        assert (await client.post(f"{base}/guard/", json=ASKED)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/shield", 404),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/v1/shield/guard", 405),
        ("DELETE", "/v1/shield/usage", 405),
        ("POST", "/v1/shield/health", 405),
        ("OPTIONS", "/v1/shield/guard", 405),
        ("GET", "/oauth2/token", 405),
        ("GET", "/v1/shield/approvals", 404),  # no admin key is configured
    ],
)
async def test_wrong_paths_and_methods(method: str, path: str, status: int) -> None:
    async with asking(ShieldApp(keys=[KEY]), headers=BEARER) as client:
        answer = await client.request(method, path)
        _is_problem(answer, status)
        assert ("allow" in answer.headers) is (status == 405)


async def test_a_prefix() -> None:
    app = Starlette(routes=[Mount("/guards/one", app=ShieldApp(keys=[KEY]))])
    async with asking(app, prefix="/guards/one", headers=BEARER) as client:
        assert (await client.post("/v1/shield/guard", json=ASKED)).json()["decision"] == "allow"


async def test_beside_a_gateway() -> None:
    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"the gateway"})

    async with asking(Front(ShieldApp(), gateway)) as client:
        assert (await client.post("/v1/chat/completions", json={})).text == "the gateway"
        assert (await client.get("/health")).text == "the gateway"
        assert (await client.get("/v1/shield/health")).json()["status"] == "healthy"
        _is_problem(await client.get("/v1/shield/other"), 404)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_on_either_event_loop(backend: str) -> None:
    async def ask() -> None:
        async with asking(ShieldApp(on_step_up=lambda pending: None)) as client:
            for content, decision in (("Hello", "allow"), (f"{SECRET} " * 4_000, "modify")):
                answer = await client.post("/v1/shield/guard", json={**ASKED, "content": content})
                assert answer.json()["decision"] == decision
            assert "event: decision" in (await client.post("/v1/shield/guard/stream", json=ASKED)).text
        async with asking(ShieldApp(guard=Says(_STEP_UP), on_step_up=lambda pending: True)) as client:
            assert (await client.post("/v1/shield/guard", json=ASKED)).status_code == 401

    anyio.run(ask, backend=backend)


def test_over_sockets_it_starts_and_ends() -> None:
    with serve_on_thread(ShieldApp()) as url:
        assert httpx.post(f"{url}/v1/shield/guard", json=ASKED).json()["decision"] == "allow"


# --- who asks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer zid_sk_test_0002"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Bearer " + "x" * 10_000},
        {"x-highflame-apikey": "\xff\xfe"},
    ],
)
async def test_who_has_no_key_is_told_so_before_the_body_is_read(headers: dict[str, str]) -> None:
    async with asking(ShieldApp(keys=[KEY])) as client:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = await client.post("/v1/shield/guard", content=b"no JSON", headers=encoded)
        _is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("header", ["authorization", "x-highflame-apikey", "x-highflame-token", "x-api-key"])
async def test_a_key_in_any_of_the_headers(header: str) -> None:
    async with asking(ShieldApp(keys=["other", KEY])) as client:
        answer = await client.post("/v1/shield/guard", json=ASKED, headers={header: KEY})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("10.0.0.1", 403)]
)
async def test_without_keys_only_this_machine_is_answered(peer: str, status: int) -> None:
    async with asking(ShieldApp(), peer=peer) as client:
        assert (await client.post("/v1/shield/guard", json=ASKED)).status_code == status
        assert (await client.get("/v1/shield/health")).status_code == status


async def test_a_key_speaks_for_its_own_project() -> None:
    keys = [Key(secret=KEY, account_id="acme", project_id="one"), Key(secret="zid_sk_free")]
    async with asking(ShieldApp(keys=keys)) as client:
        for headers, status in (
            ({"x-account-id": "acme", "x-project-id": "one"}, 200),
            ({"x-account-id": "acme", "x-project-id": "two"}, 403),
            ({"x-account-id": "other"}, 403),
            ({"authorization": "Bearer zid_sk_free", "x-project-id": "two"}, 200),
        ):
            answer = await client.post("/v1/shield/guard", json=ASKED, headers={**BEARER, **headers})
            assert answer.status_code == status, headers


async def test_tenants_do_not_share_a_session() -> None:
    guard = Says(ALLOW)
    keys = [Key(secret=KEY), Key(secret="zid_sk_b")]
    asked = {**ASKED, "session_id": "s"}
    async with asking(ShieldApp(guard=guard, keys=keys)) as client:
        for key in (KEY, "zid_sk_b", KEY):
            await client.post("/v1/shield/guard", json=asked, headers={"authorization": f"Bearer {key}"})
        await client.post("/v1/shield/guard", json=asked, headers={**BEARER, "x-project-id": "p"})
    one, two, again, third = (request.session_id for request in guard.asked)
    assert one == again
    assert len({one, two, third}) == 3


# --- what is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": None}, "content"),
        ({"content": 7}, "content"),
        ({"content_type": "poem"}, "content_type"),
        ({"action": "launch"}, "action"),
        ({"action": None}, "action"),
        ({"mode": "watch"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"detectors": "secrets"}, "detectors"),
        ({"detectors": ["toxicity", "topic"]}, "detectors"),
        ({"contexts": [1]}, "contexts"),
        ({"metadata": []}, "metadata"),
        ({"explain": "yes"}, "explain"),
        ({"session_id": "s" * 257}, "session_id"),
        ({"tool": {"name": "x"}}, "tool.is_builtin"),
        ({"model": {"input_tokens": 2_000_000_000}}, "model.input_tokens"),
        ({"model": {"temperature": "hot"}}, "model.temperature"),
        ({"file": {"path": "p"}}, "file.operation"),
        ({"mcp": {"server_name": "s", "transport": "pigeon"}}, "mcp.transport"),
    ],
)
@pytest.mark.parametrize("path", ["guard", "guard/stream"])
async def test_bad_questions(change: dict[str, Any], field: str, path: str) -> None:
    async with asking(ShieldApp()) as client:
        detail = _is_problem(await client.post(f"/v1/shield/{path}", json={**ASKED, **change}), 422)
        assert field in detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"content":',
        b'{"content": "\xff"}',
        b"[" * 100_000,
        b'{"content":"x","content_type":"prompt","action":"process_prompt","metadata":'
        + b'{"a":' * 70
        + b"1"
        + b"}" * 71,
        b'{"content":"x","content_type":"prompt","action":"process_prompt","metadata":{"a":NaN}}',
        b'{"content":"x","content_type":"prompt","action":"process_prompt","metadata":{"a":'
        + b"9" * 10_000
        + b"}}",
    ],
)
async def test_bodies_that_are_no_questions(body: bytes) -> None:
    async with asking(ShieldApp()) as client:
        for path in ("guard", "guard/stream", "detect", "usage"):
            _is_problem(await client.post(f"/v1/shield/{path}", content=body, headers=JSON), 422)


async def test_unknown_fields_and_odd_texts_are_no_fault() -> None:
    async with asking(ShieldApp()) as client:
        for content in ("\ud800 half", "\x00", "é" * 1_000, "x" * 70_000, "\u202e"):
            body = json.dumps({**ASKED, "content": content, "brand_new": {"x": 1}}).encode()
            answer = await client.post("/v1/shield/guard", content=body, headers=JSON)
            assert answer.status_code == 200, content[:10]


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_other_types(type_: str) -> None:
    async with asking(ShieldApp()) as client:
        content, headers = json.dumps(ASKED).encode(), {"content-type": type_}
        _is_problem(await client.post("/v1/shield/guard", content=content, headers=headers), 415)
        bare = client.build_request("POST", "/v1/shield/guard", content=content)
        assert "content-type" not in bare.headers
        _is_problem(await client.send(bare), 415)


async def test_what_is_too_large() -> None:
    async def pieces() -> Any:
        for _ in range(3):
            yield b"x" * 1_000

    async with asking(ShieldApp(max_body=2_000, max_chars=100)) as client:
        _is_problem(await client.post("/v1/shield/guard", content=b"x" * 2_001, headers=JSON), 413)
        _is_problem(await client.post("/v1/shield/guard", content=pieces(), headers=JSON), 413)
        assert "100 characters" in _is_problem(
            await client.post("/v1/shield/guard", json={**ASKED, "content": "x" * 101}), 413
        )


async def test_a_caller_that_leaves_is_not_answered() -> None:
    sent: list[Any] = []

    async def leave() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/shield/guard",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await ShieldApp()(scope, leave, send)
    assert sent == []


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.shield_server.app._PATIENCE", 0.05)

    async def pieces() -> Any:
        yield b"{"
        await anyio.sleep(5)

    async with asking(ShieldApp()) as client:
        _is_problem(await client.post("/v1/shield/guard", content=pieces(), headers=JSON), 408)


# --- faults ------------------------------------------------------------------------------------------------------


def _raises(request: GuardRequest) -> GuardResponse:
    raise RuntimeError(f"cannot judge {request.content}")


async def test_a_guard_without_a_verdict(caplog: pytest.LogCaptureFixture) -> None:
    async with asking(ShieldApp(guard=Says(_raises))) as client:
        for mode in Mode:
            answer = await client.post("/v1/shield/guard", json={**ASKED, "content": SECRET, "mode": mode.value})
            _is_problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
            assert SECRET not in answer.text
        events = (await client.post("/v1/shield/guard/stream", json=ASKED)).text
        assert events.startswith('event: error\ndata: {"type": "error", "data": {')
        assert '"status": 503' in events
        _is_problem(await client.post("/v1/shield/detect", json=ASKED), 503)
    assert SECRET not in caplog.text


async def test_a_guard_that_hangs() -> None:
    left = threading.Event()

    class Hangs:
        def evaluate(self, request: GuardRequest) -> GuardResponse:
            left.wait(5)
            return ALLOW

    async with asking(ShieldApp(guard=Hangs(), deadline=0.05)) as client:
        _is_problem(await client.post("/v1/shield/guard", json=ASKED), 503)
    left.set()


async def test_more_questions_than_there_are_places() -> None:
    going, enough = anyio.Event(), anyio.Event()

    class Slow:
        async def aevaluate(self, request: GuardRequest) -> GuardResponse:
            going.set()
            await enough.wait()
            return ALLOW

    async with asking(ShieldApp(guard=Slow(), concurrency=1)) as client, anyio.create_task_group() as group:
        answers = []

        async def ask() -> None:
            answers.append(await client.post("/v1/shield/guard", json=ASKED))

        group.start_soon(ask)
        await going.wait()
        refused = await client.post("/v1/shield/guard", json=ASKED)
        assert "too many" in _is_problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        enough.set()
    assert [answer.status_code for answer in answers] == [200]


async def test_a_fault_of_our_own_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        policies = ()
        reads = frozenset[str]()

        def decide(self, facts: Any, *, action: str, subject: Any = None) -> Any:
            raise AssertionError

    app = ShieldApp(guard=Says(GuardResponse(decision=Decision.ALLOW, extra={"odd": float("nan")})))
    async with asking(app) as client:
        answer = await client.post("/v1/shield/guard", json={**ASKED, "content": SECRET})
        assert answer.status_code == 200  # what JSON cannot carry is written out
        assert answer.json()["odd"] == "nan"
    async with asking(ShieldApp(rules=Broken())) as client:
        _is_problem(await client.post("/v1/shield/guard", json={**ASKED, "content": SECRET}), 503)

    class Signs:
        def sign(self, request: GuardRequest, verdict: GuardResponse, *, at: Any) -> Any:
            raise RuntimeError(request.content)

    async with asking(ShieldApp(receipts=Signs())) as client:  # type: ignore[arg-type]
        detail = _is_problem(await client.post("/v1/shield/guard", json={**ASKED, "content": SECRET}), 500)
        assert detail == "the question could not be answered"
    assert "RuntimeError in POST /v1/shield/guard" in caplog.text
    assert SECRET not in caplog.text


# --- the same question again -------------------------------------------------------------------------------------


async def test_a_repeated_question_is_answered_once() -> None:
    guard = Says(ALLOW)
    keys = [Key(secret=KEY), Key(secret="zid_sk_b")]
    async with asking(ShieldApp(guard=guard, keys=keys)) as client:
        headers = {**BEARER, "idempotency-key": "k1"}
        first = await client.post("/v1/shield/guard", json=ASKED, headers=headers)
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=headers)).content == first.content
        assert len(guard.asked) == 1
        other = await client.post("/v1/shield/guard", json={**ASKED, "content": "Other"}, headers=headers)
        _is_problem(other, 422)
        theirs = {**headers, "authorization": "Bearer zid_sk_b"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=theirs)).content != first.content
        assert len(guard.asked) == 2
        _is_problem(
            await client.post("/v1/shield/guard", json=ASKED, headers={**BEARER, "idempotency-key": ""}), 422
        )


async def test_what_waits_is_looked_at_again() -> None:
    guard = Says(GuardResponse(decision=Decision.DEFER))
    async with asking(ShieldApp(guard=guard)) as client:
        headers = {"idempotency-key": "k1"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=headers)).status_code == 425
        guard.answer = ALLOW
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=headers)).json()["decision"] == "allow"


async def test_tokens_on_a_guard_call_are_spent_once() -> None:
    app = ShieldApp(prices={"p/m": Price(input=2.0, output=10.0), "m": Price(input=1.0, output=1.0)})
    asked = {**ASKED, "model": {"provider": "p", "model": "m", "input_tokens": 10, "output_tokens": 3}}
    async with asking(app) as client:
        for _ in range(2):
            await client.post("/v1/shield/guard", json=asked, headers={"idempotency-key": "k"})
        await client.post("/v1/shield/guard/stream", json=asked)  # a stream spends nothing
        usage = {"usage_id": "u", "model": {"model": "m", "input_tokens": 5, "cache_read_tokens": 5}}
        assert (await client.post("/v1/shield/usage", json=usage)).json() == {
            "cost_micros": 10,
            "priced": True,
            "recorded": True,
        }
    from highflame_middleware.shield_server.tokens import Caller

    assert app.ledger.spent(Caller().tenant) == 10 * 2 + 3 * 10 + 10


@pytest.mark.parametrize(
    "usage",
    [
        {"model": {"model": "m"}},
        {"usage_id": "", "model": {"model": "m"}},
        {"usage_id": "u"},
        {"usage_id": "u", "model": {}},
        {"usage_id": "u", "model": {"model": "m", "input_tokens": -1}},
        {"usage_id": "u", "model": {"model": "m", "input_tokens": 1e9 + 1}},
        {"usage_id": "u" * 300, "model": {"model": "m"}},
    ],
)
async def test_bad_reports_of_usage(usage: dict[str, Any]) -> None:
    async with asking(ShieldApp()) as client:
        _is_problem(await client.post("/v1/shield/usage", json=usage), 422)


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guard": lambda request: True, "rules": BuiltInRules()}, "give a guard or rules"),
        ({"keys": "zid_sk_1"}, "keys is a single key"),
        ({"keys": [""]}, "must be a string that is not empty"),
        ({"mode": "watch"}, "mode='watch' is unknown"),
        ({"deadline": 0}, "deadline=0"),
        ({"max_body": True}, "max_body=True"),
        ({"concurrency": -1}, "concurrency=-1"),
        ({"token_secret": "short"}, "token_secret has fewer than 32"),
        ({"guard": "embedded"}, "cannot judge a text"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShieldApp(**options)


def test_no_repr_shows_a_key() -> None:
    app = ShieldApp(keys=[KEY], token_secret="s" * 40, admin_keys=["admin-key-1"])
    assert repr(app) == "ShieldApp(guard='embedded', asks_for_keys=True)"
    assert KEY not in repr(app._service)
    assert "s" * 40 not in repr(app._service)
