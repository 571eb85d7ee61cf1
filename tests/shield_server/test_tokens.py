"""Keys, tokens and approvals: what the token endpoint gives, to whom, for how long, and for what."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest

from highflame_middleware import ConfigError
from highflame_middleware.shield_server import Key, PendingApproval, ReceiptSigner, ShieldApp
from highflame_middleware.shield_server.approvals import Approvals
from highflame_middleware.shield_server.memory import Answers
from highflame_middleware.shield_server.replies import Reply
from highflame_middleware.shield_server.spending import Ledger, Price
from highflame_middleware.shield_server.tokens import Caller, Issuer
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, ModelContext
from tests.shield_server.kit import ASKED, KEY, Says, asking

STEP_UP = GuardResponse(decision=Decision.STEP_UP, policy_reason="Ask the treasurer")
CIBA = "urn:openid:params:grant-type:ciba"
SECRET = "a secret that replicas share, long enough"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


# --- the token endpoint ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth2/token", "/api/cli-auth/token"])
@pytest.mark.parametrize("shape", ["json", "data"])
async def test_a_key_is_exchanged(path: str, shape: str) -> None:
    keys = [Key(secret=KEY, name="agent", account_id="acme", project_id="one", gateway_id="g")]
    async with asking(ShieldApp(keys=keys, token_lifetime=120)) as client:
        grant = {"grant_type": "api_key", "api_key": KEY, "scope": "guard"}
        answer = await client.post(path, **{shape: grant})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        given = answer.json()
        assert given.pop("access_token").count(".") == 2
        assert given.pop("jti")
        assert given == {
            "token_type": "Bearer",
            "expires_in": 120,
            "account_id": "acme",
            "project_id": "one",
            "gateway_id": "g",
            "user_id": "agent",
            "scope": "",
        }
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    ("grant", "error"),
    [
        ({"grant_type": "api_key", "api_key": "zid_sk_other"}, "invalid_grant"),
        ({"grant_type": "api_key"}, "invalid_grant"),
        ({"grant_type": "api_key", "api_key": ["x"]}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
        ({"grant_type": CIBA, "auth_req_id": "unheard of"}, "invalid_grant"),
        ({"grant_type": CIBA}, "invalid_grant"),
    ],
)
async def test_what_is_not_granted(grant: dict[str, Any], error: str) -> None:
    async with asking(ShieldApp(keys=[KEY])) as client:
        answer = await client.post("/oauth2/token", json=grant)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert "zid_sk" not in answer.text


@pytest.mark.parametrize(
    ("content", "type_"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 30), "application/x-www-form-urlencoded"),
        (b"nothing", "application/x-www-form-urlencoded"),
        (b"grant_type=api_key", "text/plain"),
    ],
)
async def test_what_is_no_grant(content: bytes, type_: str) -> None:
    async with asking(ShieldApp(keys=[KEY])) as client:
        answer = await client.post("/oauth2/token", content=content, headers={"content-type": type_})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_token_buys_no_token() -> None:
    async with asking(ShieldApp(keys=[KEY])) as client:
        token = (await client.post("/oauth2/token", json={"grant_type": "api_key", "api_key": KEY})).json()
        again = {"grant_type": "api_key", "api_key": token["access_token"]}
        assert (await client.post("/oauth2/token", json=again)).json()["error"] == "invalid_grant"


async def test_without_keys_any_key_will_do_on_this_machine() -> None:
    async with asking(ShieldApp()) as client:
        given = await client.post("/oauth2/token", json={"grant_type": "api_key", "api_key": "zid_sk_any"})
        bearer = {"authorization": f"Bearer {given.json()['access_token']}"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=bearer)).status_code == 200
    async with asking(ShieldApp(), peer="192.0.2.1") as client:
        answer = await client.post("/oauth2/token", json={"grant_type": "api_key", "api_key": "zid_sk_any"})
        assert answer.status_code == 403


# --- tokens ------------------------------------------------------------------------------------------------------


def _claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _exchanged(issuer: Issuer) -> Caller:
    caller = issuer.exchange(KEY)
    assert caller is not None
    return caller


def test_a_token_ends() -> None:
    clock = Clock()
    issuer = Issuer([Key(secret=KEY)], lifetime=60, clock=clock)
    token = issuer.issue(_exchanged(issuer))["access_token"]
    clock.now += 59
    assert issuer.admit(token) == Caller(name="key-1")
    clock.now += 1
    assert issuer.admit(token) is None


def test_a_token_tells_nothing_of_its_key() -> None:
    issuer = Issuer([Key(secret=KEY, name="agent")], secret=SECRET)
    token = issuer.issue(_exchanged(issuer))["access_token"]
    assert KEY not in json.dumps(_claims_of(token))
    assert KEY not in repr(issuer)


def test_forged_tokens() -> None:
    issuer = Issuer([Key(secret=KEY, name="agent", project_id="one")], secret=SECRET)
    token = issuer.issue(_exchanged(issuer))["access_token"]
    stranger = Issuer([Key(secret=KEY, name="agent")])
    header, payload, signature = token.split(".")
    claims = _claims_of(token)
    forged = [
        f"{header}.{_encoded({**claims, 'approval': 'all'})}.{signature}",
        f"{header}.{_encoded({**claims, 'exp': claims['exp'] + 1})}.{signature}",
        f"{_encoded({'alg': 'none'})}.{payload}.",
        f"{_encoded({'alg': 'none'})}.{payload}.{signature}",
        f"{header}.{payload}.{signature[:-1]}",
        f"{header}.{payload}.{signature}x",
        f"{header}.{payload}.é",
        f"{header}.{payload}",
        ".",
        "..",
        stranger.issue(_exchanged(stranger))["access_token"],
    ]
    assert issuer.admit(token) == Caller(name="agent", project_id="one")
    assert [issuer.admit(one) for one in forged] == [None] * len(forged)


def test_replicas_with_one_secret_agree_and_a_key_that_is_gone_takes_its_tokens_along() -> None:
    keys = [Key(secret=KEY, name="agent", project_id="one")]
    issuer = Issuer(keys, secret=SECRET)
    token = issuer.issue(_exchanged(issuer))["access_token"]
    assert Issuer(keys, secret=SECRET).admit(token) == Caller(name="agent", project_id="one")
    assert Issuer([Key(secret="zid_sk_new", name="agent")], secret=SECRET).admit(token) is None
    moved = [Key(secret=KEY, name="agent", project_id="two")]
    assert Issuer(moved, secret=SECRET).admit(token) == Caller(name="agent", project_id="two")


async def test_two_keys_of_one_name_keep_their_own_accounts() -> None:
    keys = [
        Key(secret=KEY, name="agent", account_id="one"),
        Key(secret="zid_sk_b", name="agent", account_id="two"),
    ]
    issuer = Issuer(keys)
    for key, account in ((KEY, "one"), ("zid_sk_b", "two")):
        caller = issuer.exchange(key)
        assert caller is not None
        bearer = issuer.admit(issuer.issue(caller)["access_token"])
        assert bearer is not None
        assert bearer.account_id == account
    with pytest.raises(ConfigError, match="there twice"):
        Issuer([*keys, Key(secret=KEY, name="other")])


# --- approvals ---------------------------------------------------------------------------------------------------


async def _token_for(client: Any, auth_req_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = (
        await client.post("/oauth2/token", json={"grant_type": CIBA, "auth_req_id": auth_req_id})
    ).json()
    return answer


async def test_the_challenge() -> None:
    async with asking(ShieldApp(guard=Says(STEP_UP), approval_seconds=60)) as client:
        answer = await client.post("/v1/shield/guard", json=ASKED)
        again = await client.post("/v1/shield/guard", json=ASKED)
        other = await client.post("/v1/shield/guard", json={**ASKED, "content": "Other"})
        streamed = await client.post("/v1/shield/guard/stream", json=ASKED)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert 'acr_values="urn:highflame:aarm:step_up"' in challenge
    body = answer.json()
    assert (body["decision"], body["interval"], body["policy_reason"]) == ("step_up", 5.0, "Ask the treasurer")
    assert 59 < body["expires_in"] <= 60
    assert body["binding_message"].startswith("Highflame ")
    assert body["authorization_details"][0]["action"] == "process_prompt"
    assert ASKED["content"] not in json.dumps(body)
    assert again.json()["auth_req_id"] == body["auth_req_id"] != other.json()["auth_req_id"]
    assert json.loads(streamed.text.rpartition("data: ")[2])["data"]["auth_req_id"] == body["auth_req_id"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("said", "error"), [(True, None), (False, "access_denied"), (None, "authorization_pending")]
)
async def test_the_application_decides(asynchronous: bool, said: bool | None, error: str | None) -> None:
    told: list[PendingApproval] = []

    def decide(pending: PendingApproval) -> bool | None:
        told.append(pending)
        return said

    async def adecide(pending: PendingApproval) -> bool | None:
        await anyio.sleep(0)
        return decide(pending)

    app = ShieldApp(guard=Says(STEP_UP), on_step_up=adecide if asynchronous else decide)
    async with asking(app) as client:
        asked = {**ASKED, "session_id": "s", "action": "call_tool", "content_type": "tool_call"}
        asked["tool"] = {"name": "pay", "is_builtin": False, "arguments": {"to": "acme"}}
        id_ = (await client.post("/v1/shield/guard", json=asked)).json()["auth_req_id"]
        await client.post("/v1/shield/guard", json={**asked, "content": asked["content"]})
        given = await _token_for(client, id_)
        assert given.get("error") == error
        assert ("access_token" in given) is (error is None)
    assert told[0].tool == "pay"
    assert (told[0].session_id, told[0].reason, told[0].policies) == ("s", "Ask the treasurer", ())
    assert id_ not in repr(told[0])


async def test_an_application_that_fails_leaves_it_open(caplog: pytest.LogCaptureFixture) -> None:
    def decide(pending: PendingApproval) -> bool:
        raise RuntimeError("nobody at home")

    app = ShieldApp(guard=Says(STEP_UP), on_step_up=decide)
    async with asking(app) as client:
        id_ = (await client.post("/v1/shield/guard", json=ASKED)).json()["auth_req_id"]
        assert (await _token_for(client, id_))["error"] == "authorization_pending"
    assert "on_step_up raised" in caplog.text


async def test_a_pass_is_good_for_one_text_of_one_caller_once() -> None:
    keys = [Key(secret=KEY), Key(secret="zid_sk_b")]
    app = ShieldApp(guard=Says(STEP_UP), keys=keys, on_step_up=lambda pending: True)
    headers = {"authorization": f"Bearer {KEY}"}
    async with asking(app) as client:
        id_ = (await client.post("/v1/shield/guard", json=ASKED, headers=headers)).json()["auth_req_id"]
        upgraded = {"authorization": f"Bearer {(await _token_for(client, id_))['access_token']}"}
        for change in (
            {"content": "hello"},
            {"session_id": "s"},
            {"action": "process_response"},
            {"tool": {"name": "x", "is_builtin": False}},
        ):
            answer = await client.post("/v1/shield/guard", json={**ASKED, **change}, headers=upgraded)
            assert answer.status_code == 401, change
        theirs = {"authorization": "Bearer zid_sk_b"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=theirs)).status_code == 401
        retried = {**upgraded, "idempotency-key": "k"}
        first = await client.post("/v1/shield/guard", json=ASKED, headers=retried)
        assert (first.status_code, first.json()["decision"]) == (200, "allow")
        assert first.json()["mode_reason"] == "approved by a person, for this once"
        # The network may have lost the answer; another call is another matter.
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=retried)).content == first.content
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=upgraded)).status_code == 401
        assert (await _token_for(client, id_))["error"] == "invalid_grant"


async def test_an_approval_knows_the_project_that_was_named() -> None:
    app = ShieldApp(guard=Says(STEP_UP), keys=[KEY], on_step_up=lambda pending: True)
    headers = {"authorization": f"Bearer {KEY}", "x-project-id": "one"}
    async with asking(app) as client:
        id_ = (await client.post("/v1/shield/guard", json=ASKED, headers=headers)).json()["auth_req_id"]
        upgraded = {"authorization": f"Bearer {(await _token_for(client, id_))['access_token']}"}
        elsewhere = {**upgraded, "x-project-id": "two"}
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=elsewhere)).status_code == 403
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=upgraded)).status_code == 200


async def test_a_deny_is_not_to_be_approved() -> None:
    guard = Says(STEP_UP)
    async with asking(ShieldApp(guard=guard, on_step_up=lambda pending: True)) as client:
        id_ = (await client.post("/v1/shield/guard", json=ASKED)).json()["auth_req_id"]
        upgraded = {"authorization": f"Bearer {(await _token_for(client, id_))['access_token']}"}
        guard.answer = GuardResponse(decision=Decision.DENY)
        answer = await client.post("/v1/shield/guard", json=ASKED, headers=upgraded)
        assert answer.json()["decision"] == "deny"


async def test_an_admin_decides_over_http() -> None:
    app = ShieldApp(guard=Says(STEP_UP), keys=[KEY], admin_keys=["admin-key-1"])
    admin = {"authorization": "Bearer admin-key-1"}
    async with asking(app) as client:
        path = "/v1/shield/approvals"
        body = (await client.post("/v1/shield/guard", json=ASKED, headers={"authorization": KEY})).json()
        assert (await client.get(path, headers={"authorization": f"Bearer {KEY}"})).status_code == 401
        assert (await client.get(path)).status_code == 401
        assert (await client.post("/v1/shield/guard", json=ASKED, headers=admin)).status_code == 401
        waiting = (await client.get(path, headers=admin)).json()["approvals"]
        assert [(one["auth_req_id"], one["caller"]) for one in waiting] == [(body["auth_req_id"], "key-1")]
        for wrong in ({}, {"auth_req_id": body["auth_req_id"], "approved": "yes"}, {"approved": True}):
            assert (await client.post(path, json=wrong, headers=admin)).status_code == 422
        unknown = {"auth_req_id": "x", "approved": True}
        assert (await client.post(path, json=unknown, headers=admin)).status_code == 404
        settled = {"auth_req_id": body["auth_req_id"], "approved": False}
        assert (await client.post(path, json=settled, headers=admin)).json() == {"approved": False}
        assert (await client.post(path, json=settled, headers=admin)).status_code == 404
        assert (await _token_for(client, body["auth_req_id"]))["error"] == "access_denied"


def _pending(digest: str = "d") -> PendingApproval:
    return PendingApproval(
        auth_req_id="",
        digest=digest,
        account_id="",
        project_id="",
        caller="",
        action="call_tool",
        tool=None,
        session_id=None,
        reason=None,
        policies=(),
        expires_at=0.0,
    )


def test_polling_too_fast_and_too_late() -> None:
    clock = Clock()
    approvals = Approvals(lifetime=60, interval=5, clock=clock)
    pending, new = approvals.ask(Caller(), _pending())
    assert new
    states = []
    for wait in (0, 1, 10, 5, 20):
        clock.now += wait
        states.append(approvals.poll(pending.auth_req_id)[0])
    # Each slow_down adds five seconds to the five that are wanted.
    assert states == [
        "authorization_pending",
        "slow_down",
        "authorization_pending",
        "slow_down",
        "authorization_pending",
    ]
    clock.now += 60
    assert approvals.poll(pending.auth_req_id)[0] == "expired_token"
    assert not approvals.settle(pending.auth_req_id, approved=True)
    assert approvals.waiting() == ()
    again, new = approvals.ask(Caller(), _pending())
    assert new
    assert again.auth_req_id != pending.auth_req_id


def test_approvals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.shield_server.approvals._MOST", 3)
    clock = Clock()
    approvals = Approvals(lifetime=60, clock=clock)
    ids = [approvals.ask(Caller(), _pending(str(place)))[0].auth_req_id for place in range(5)]
    assert len(approvals.waiting()) == 3
    assert [approvals.poll(id_)[0] == "invalid_grant" for id_ in ids] == [True, True, False, False, False]
    clock.now += 121
    assert approvals.waiting() == ()
    approvals.ask(Caller(), _pending("new"))
    assert approvals.poll(ids[4])[0] == "invalid_grant"


# --- what is remembered ------------------------------------------------------------------------------------------


def test_answers_are_bounded_in_number_size_and_age() -> None:
    clock = Clock()
    answers = Answers(most=2, octets=100, seconds=10, clock=clock)
    for name in ("a", "b", "c"):
        answers.keep("t", name, b"q", Reply(200, (), name.encode()))
    assert answers.find("t", "a", b"q") is None
    assert answers.find("t", "c", b"q") is not None
    answers.keep("t", "large", b"q", Reply(200, (), b"x" * 100))
    assert answers.find("t", "c", b"q") is None
    with pytest.raises(KeyError):
        answers.find("t", "large", b"another question")
    clock.now += 10
    assert answers.find("t", "large", b"q") is None


def test_reports_are_remembered_for_two_days() -> None:
    clock = Clock()
    ledger = Ledger({"m": Price(input=1.0, output=2.0, cache_read=0.1)}, clock=clock)
    used = ModelContext(model="m", input_tokens=10, output_tokens=1, cache_read_tokens=100, cache_write_tokens=2)
    assert ledger.record("t", "u", used).recorded
    assert not ledger.record("t", "u", used).recorded
    assert ledger.record("other", "u", used).recorded
    clock.now += 48 * 3600
    assert ledger.record("t", "u", used).recorded
    assert ledger.spent("t") == 2 * (10 + 2 + 10 + 2)
    with pytest.raises(ConfigError, match="a price of -1"):
        Price(input=-1, output=0)


@pytest.mark.parametrize("pem", ["", "no PEM", b"\xff"])
def test_receipt_keys_that_are_none(pem: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ReceiptSigner(pem)


def test_a_receipt_key_of_another_kind(tmp_path: Any) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        ReceiptSigner(pem)
    with pytest.raises(ConfigError, match="No such file"):
        ReceiptSigner.from_file(tmp_path / "absent.pem")


def test_what_was_asked_is_bound_to_its_arguments() -> None:
    from highflame_middleware.shield_server.service import _digest
    from highflame_middleware.types import ToolContext

    def digest(**arguments: Any) -> str:
        tool = ToolContext(name="pay", arguments=arguments)
        return _digest(Caller(), GuardRequest(content="{}", action="call_tool", tool=tool))

    assert digest(to="a", amount=1) == digest(amount=1, to="a") != digest(to="a", amount=2)
