"""Shield as an ASGI app: paths, keys and bodies here; what is answered is for `Service` to say."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import anyio

from ..asgi.body import read_body
from ..asgi.caller import Peers
from ..asgi_types import Receive, Scope, Send
from ..engine import EmbeddedGuard
from ..errors import ConfigError
from ..exchange import Policy
from ..guard.protocol import GuardLike, bind
from ..guard.rules import Rules
from ..guard.verdict import DecisionEvent
from ..types import Mode, Secret
from .approvals import Approvals
from .detectors import Inventory
from .memory import Answers
from .questions import ACTIONS, read_grant, read_json
from .receipts import ReceiptSigner
from .replies import EVENT_STREAM, ProblemError, Reply, json_reply, oauth_error, problem
from .service import OnStepUp, Places, Service
from .showing import Shown
from .spending import Ledger, Price
from .tokens import Caller, Issuer, Key

__all__ = ["ShieldApp"]

_log = logging.getLogger("highflame_middleware.shield_server")

_PATIENCE = 30.0  # seconds for a body to come in
_LOOPBACK = Peers.read(["127.0.0.0/8", "::1/128"])
_KEY_HEADERS = (b"authorization", b"x-highflame-apikey", b"x-highflame-token", b"x-api-key")
_INVALID_TOKEN = (("www-authenticate", 'Bearer error="invalid_token"'),)
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, as far as it matters."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, str]
    peer: str | None

    def header(self, name: str) -> str | None:
        return self.headers.get(name.encode())

    @property
    def type(self) -> str:
        return (self.header("content-type") or "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class _Row:
    """What answers a path and a method, and who may ask: a caller with a key, an admin, or anybody."""

    answer: Callable[[ShieldApp, _Asked, Caller, bytes], Awaitable[Reply | AsyncIterator[bytes]]]
    who: str = "caller"


class ShieldApp:
    """The guard of this process as Highflame Shield over HTTP: for the ``highflame`` package, and for ours.

    Mount it anywhere; a prefix is for the server that mounts it to strip (``root_path``). Without ``keys`` only
    this machine is answered.

    Parameters
    ----------
    guard
        What judges; without it an `EmbeddedGuard` with these ``rules``.
    rules
        What decides by the facts, where no guard is given: a `PolicySet`, say.
    keys
        What callers must present one of, as it is or exchanged for a token: strings, or `Key` with its account
        and project.
    token_secret, token_lifetime
        What tokens are signed with (32 characters or more; the same for all replicas; a new one with each process
        where it is not given), and the seconds for which they are good.
    mode
        The mode of questions that name none.
    deadline
        Seconds for one evaluation.
    max_body, max_chars, concurrency
        Bounds: bytes of a body, characters of a content, evaluations at a time.
    actions
        Further actions that the rules know.
    originals
        Whether what was taken out is told beside what was put in its place. Shield does; here it stays away
        unless it is asked for.
    receipts
        Signs every verdict.
    prices
        What models cost, by name, or by ``provider/name``.
    on_step_up
        Told of everything that has to be approved by a person; it may return the decision.
    approval_seconds, approval_interval
        How long an approval is waited for, and how often a client may ask whether it is there.
    admin_keys
        With one of these, approvals can be seen and given over HTTP (``/v1/shield/approvals``).
    on_decision
        Told of every evaluation.

    >>> app = ShieldApp(keys=["zid_sk_local"])
    >>> app
    ShieldApp(guard='embedded', asks_for_keys=True)
    """

    def __init__(
        self,
        *,
        guard: GuardLike | None = None,
        rules: Rules | None = None,
        keys: Iterable[str | Secret | Key] = (),
        token_secret: str | Secret | None = None,
        token_lifetime: float = 900.0,
        mode: Mode | str = Mode.ENFORCE,
        deadline: float = 2.0,
        max_body: int = 4 * 1024 * 1024,
        max_chars: int = 1_000_000,
        concurrency: int = 64,
        actions: Iterable[str] = (),
        originals: bool = False,
        receipts: ReceiptSigner | None = None,
        prices: Mapping[str, Price] | None = None,
        on_step_up: OnStepUp | None = None,
        approval_seconds: float = 300.0,
        approval_interval: float = 5.0,
        admin_keys: Iterable[str | Secret] = (),
        on_decision: Callable[[DecisionEvent], object] | None = None,
    ) -> None:
        if guard is not None and rules is not None:
            raise ConfigError("give a guard or rules: a guard has rules of its own")
        judge = guard if guard is not None else EmbeddedGuard(rules=rules, max_chars=_above("max_chars", max_chars))
        binding = bind(judge)
        found = getattr(judge, "rules", None)
        shown = Shown(Inventory(binding, judge), found if isinstance(found, Rules) else None)
        try:
            default_mode = Mode(mode)
        except ValueError:
            raise ConfigError(f"mode={mode!r} is unknown: use one of {', '.join(Mode)}") from None
        self._max_body = int(_above("max_body", max_body))
        self._admin_keys = tuple(_keys("admin_keys", admin_keys))
        issuer = Issuer(_keys("keys", keys), secret=token_secret, lifetime=_above("token_lifetime", token_lifetime))
        self._service = Service(
            policy=Policy(
                guard=binding,
                mode=default_mode,
                deadline=_above("deadline", deadline),
                on_decision=on_decision,
            ),
            shown=shown,
            issuer=issuer,
            approvals=Approvals(
                lifetime=_above("approval_seconds", approval_seconds),
                interval=_above("approval_interval", approval_interval),
            ),
            answers=Answers(),
            ledger=Ledger(prices),
            actions=tuple(dict.fromkeys((*ACTIONS, *actions))),
            default_mode=default_mode,
            max_chars=max_chars,
            originals=originals,
            signer=receipts,
            on_step_up=on_step_up,
            places=Places(int(_above("concurrency", concurrency))),
        )
        self._name = binding.name

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must present a key; if not, only this machine is answered."""
        return self._service.issuer.asks_for_keys

    @property
    def approvals(self) -> Approvals:
        """What waits for a person: ``waiting()`` lists it, ``settle()`` decides."""
        return self._service.approvals

    @property
    def ledger(self) -> Ledger:
        """What model calls have cost."""
        return self._service.ledger

    def serves(self, scope: Scope) -> bool:
        """Whether a request is for one of Shield's paths, for an app that has others too."""
        path = _path(scope)
        return path in _ROUTES or path.startswith("/v1/shield/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003, "reason": "Shield speaks HTTP only"})
        elif scope["type"] == "http":
            await self._answer(_read(scope), receive, send)

    async def _answer(self, asked: _Asked, receive: Receive, send: Send) -> None:
        try:
            row = self._route(asked)
            # Before a byte of the body is read.
            caller = self._admitted(asked, row.who)
            content = await self._body(asked, receive)
            if content is None:
                return
            reply = await row.answer(self, asked, caller, content)
        except ProblemError as refused:
            reply = refused.reply
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told no more than that
            # Not the error itself: it may quote what was asked.
            _log.error("%s in %s %s", type(error).__name__, asked.method, asked.path)
            reply = problem(500, "the question could not be answered").reply
        if isinstance(reply, Reply):
            await _start(send, reply.status, reply.headers)
            await send({"type": "http.response.body", "body": reply.body, "more_body": False})
            return
        await _start(send, 200, EVENT_STREAM)
        async with aclosing(reply) as events:  # type: ignore[type-var] # it is a generator
            async for chunk in events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _route(self, asked: _Asked) -> _Row:
        """What answers a request."""
        if not self.asks_for_keys and not _LOOPBACK.trust(asked.peer):
            raise problem(403, "this server has no keys, so it answers nobody but its own machine")
        methods = _ROUTES.get(asked.path)
        if methods is None:
            raise problem(404, "there is nothing here")
        if asked.method not in methods:
            raise problem(405, f"this takes {' or '.join(methods)}", headers=(("allow", ", ".join(methods)),))
        return methods[asked.method]

    async def _body(self, asked: _Asked, receive: Receive) -> bytes | None:
        """The whole body; nothing where the caller has left."""
        declared = asked.header("content-length") or ""
        if declared.isdecimal() and int(declared[:20]) > self._max_body:
            raise problem(413, f"the body is longer than {self._max_body} bytes")
        if asked.method == "GET":
            return b""
        body = None
        with anyio.move_on_after(_PATIENCE):
            body = await read_body(receive, self._max_body)
        if body is None:
            raise problem(408, f"the body did not come within {_PATIENCE:g} seconds")
        if body.too_large:
            raise problem(413, f"the body is longer than {self._max_body} bytes")
        return body.content

    def _admitted(self, asked: _Asked, who: str) -> Caller:
        """Who asks. Of several credentials, one that is not known does not make another one worthless."""
        presented = [_credential(asked.headers[name]) for name in _KEY_HEADERS if name in asked.headers]
        if who == "anybody":
            return Caller()
        if who == "admin":
            return self._admin(presented)
        callers = [self._service.issuer.admit(credential) for credential in presented or [""]]
        caller = next((caller for caller in callers if caller is not None), None)
        if caller is None:
            raise problem(401, "this needs a key or a token of this server", headers=_INVALID_TOKEN)
        return self._placed(caller, asked)

    def _placed(self, caller: Caller, asked: _Asked) -> Caller:
        """The caller in the account and project that the request names, which must not be another's."""
        for field, name in (("account_id", "x-account-id"), ("project_id", "x-project-id")):
            named, own = asked.header(name), getattr(caller, field)
            if named and own and named != own:
                raise problem(403, f"this key is not for the {field.partition('_')[0]} that {name} names")
            if named and not own:
                caller = replace(caller, **{field: named[:256]})
        return caller

    def _json(self, asked: _Asked, content: bytes) -> dict[str, Any]:
        if asked.type != "application/json" and not asked.type.endswith("+json"):
            # A browser sends other types across origins without asking first.
            raise problem(415, "this takes application/json")
        return read_json(content)

    # --- what stands behind the paths ------------------------------------------------------------------------

    async def _guard(self, asked: _Asked, caller: Caller, content: bytes) -> Reply:
        payload = self._json(asked, content)
        return await self._service.guard(caller, payload, key=asked.header("idempotency-key"))

    async def _stream(self, asked: _Asked, caller: Caller, content: bytes) -> AsyncIterator[bytes]:
        return self._service.stream(caller, self._json(asked, content))

    async def _detect(self, asked: _Asked, caller: Caller, content: bytes) -> Reply:
        return await self._service.detect(caller, self._json(asked, content))

    async def _usage(self, asked: _Asked, caller: Caller, content: bytes) -> Reply:
        return self._service.usage(caller, self._json(asked, content))

    async def _detectors(self, _asked: _Asked, _caller: Caller, _content: bytes) -> Reply:
        return self._service.detectors()

    async def _policies(self, asked: _Asked, _caller: Caller, _content: bytes) -> Reply:
        try:
            given = parse_qs(asked.query, max_num_fields=20).get("product", ["guardrails"])
        except ValueError:
            raise problem(422, "validation failed: the query has too many fields") from None
        return self._service.policies(given[0][:100])

    async def _health(self, _asked: _Asked, _caller: Caller, _content: bytes) -> Reply:
        return self._service.health()

    async def _receipt_keys(self, _asked: _Asked, _caller: Caller, _content: bytes) -> Reply:
        signer = self._service.signer
        return json_reply(200, signer.public_keys() if signer is not None else {"keys": []})

    async def _token(self, asked: _Asked, _caller: Caller, content: bytes) -> Reply:
        if asked.type not in ("application/json", _FORM):
            raise oauth_error(400, "invalid_request", f"this takes application/json or {_FORM}")
        return self._service.grant(read_grant(content, asked.type))

    async def _waiting(self, _asked: _Asked, _caller: Caller, _content: bytes) -> Reply:
        return json_reply(200, {"approvals": [_plain(pending) for pending in self.approvals.waiting()]})

    async def _settle(self, asked: _Asked, _caller: Caller, content: bytes) -> Reply:
        payload = self._json(asked, content)
        id_, approved = payload.get("auth_req_id"), payload.get("approved")
        if not isinstance(id_, str) or not isinstance(approved, bool):
            raise problem(422, "validation failed: give auth_req_id, a string, and approved, true or false")
        if not self.approvals.settle(id_, approved=approved):
            raise problem(404, "nobody waits for this approval")
        return json_reply(200, {"approved": approved})

    def _admin(self, presented: Iterable[str]) -> Caller:
        if not self._admin_keys:
            raise problem(404, "there is nothing here")
        given = [credential.encode("utf-8", "surrogateescape") for credential in presented]
        matches = [hmac.compare_digest(one, key.octets) for one in given for key in self._admin_keys]
        if not any(matches):
            raise problem(401, "this needs an admin key", headers=_INVALID_TOKEN)
        return Caller()

    def __repr__(self) -> str:
        return f"ShieldApp(guard={self._name!r}, asks_for_keys={self.asks_for_keys})"


# ruff: noqa: SLF001 - the app's own table
_SHIELD: Mapping[str, Mapping[str, _Row]] = {
    "guard": {"POST": _Row(ShieldApp._guard)},
    "guard/stream": {"POST": _Row(ShieldApp._stream)},
    "detect": {"POST": _Row(ShieldApp._detect)},
    "usage": {"POST": _Row(ShieldApp._usage)},
    "detectors": {"GET": _Row(ShieldApp._detectors)},
    "debug/policies": {"GET": _Row(ShieldApp._policies)},
    "health": {"GET": _Row(ShieldApp._health, "anybody")},
}
_ROUTES: Mapping[str, Mapping[str, _Row]] = MappingProxyType(
    {
        **{f"/v1/shield/{name}": methods for name, methods in _SHIELD.items()},
        # As they were called before.
        **{f"/v1/{name}": methods for name, methods in _SHIELD.items()},
        "/v1/shield/approvals": {
            "GET": _Row(ShieldApp._waiting, "admin"),
            "POST": _Row(ShieldApp._settle, "admin"),
        },
        "/v1/auth/.well-known/highflame-receipt-keys": {"GET": _Row(ShieldApp._receipt_keys, "anybody")},
        "/oauth2/token": {"POST": _Row(ShieldApp._token, "anybody")},
        "/api/cli-auth/token": {"POST": _Row(ShieldApp._token, "anybody")},
    }
)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _start(send: Send, status: int, headers: Iterable[tuple[str, str]]) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


def _path(scope: Any) -> str:
    """The path without what the app is mounted under."""
    path: str = scope["path"]
    root = (scope.get("root_path") or "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path.rstrip("/") or "/"


def _read(scope: Any) -> _Asked:
    """The request without its body."""
    return _Asked(
        method=scope["method"].upper(),
        path=_path(scope),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers={name.lower(): value.decode("latin-1") for name, value in scope["headers"]},
        peer=scope["client"][0] if scope.get("client") else None,
    )


def _credential(value: str) -> str:
    scheme, space, rest = value.partition(" ")
    return rest.strip() if space and scheme.lower() == "bearer" else value.strip()


def _keys(option: str, given: Iterable[str | Secret | Key]) -> list[Key]:
    if isinstance(given, str | bytes | Secret | Key):
        raise ConfigError(f"{option} is a single key: give a list of keys")
    return [key if isinstance(key, Key) else Key(secret=key) for key in given]


def _above(option: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ConfigError(f"{option}={value!r} cannot be used: give a number above 0")
    return value


def _plain(pending: Any) -> dict[str, Any]:
    """A pending approval for whoever decides; the id is theirs to know."""
    names = (
        "auth_req_id",
        "digest",
        "account_id",
        "project_id",
        "caller",
        "action",
        "tool",
        "session_id",
        "reason",
        "policies",
        "expires_at",
    )
    found = {name: getattr(pending, name) for name in names}
    return {**found, "policies": list(pending.policies)}
