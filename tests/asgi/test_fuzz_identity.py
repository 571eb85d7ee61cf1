"""Whoever comes, and however often: nobody is let in without a token that holds, nobody beyond a limit.

What is let in is held against another reader of tokens, PyJWT's own; whom a key belongs to, against an application
that takes whichever of several it finds.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import ipaddress
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from highflame_middleware import HighflameMiddleware, current_context
from highflame_middleware.asgi.counters import Counters
from highflame_middleware.identity import Authenticator, Proofs, TokenVerifier
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.asgi.fuzz_kit import fuzzed
from tests.gateway_kit import scope_of

RESOURCE = "https://api.example.test"
URL = f"{RESOURCE}/chat"
REFUSED = {400, 401, 403, 503}


_open = ExitStack()
# Where no test framework is there to say that it is over.
atexit.register(_open.close)


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """Leave nothing behind that is served, nor what has asked it."""
    yield
    _open.close()
    for made in (authority, agent, verifier, holders, good):
        made.cache_clear()


@cache
def authority() -> Authority:
    """One for all examples."""
    found = Authority()
    _open.enter_context(found.serve())
    return found


@cache
def agent() -> Agent:
    return authority().register("writer", scopes=["tools:read", "tools:write"])


@cache
def verifier() -> TokenVerifier:
    return TokenVerifier(issuer=authority().issuer, resource=RESOURCE)


@cache
def holders() -> tuple[Holder, Holder]:
    return Holder(), Holder()


class Logged(logging.Handler):
    """Everything that is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += logging.Formatter().format(record)


class Door:
    """Requests through a middleware, one after the other; who was let in, and what the others were told."""

    def __init__(self, **options: Any) -> None:
        self.seen: list[Any] = []
        self._guarded = HighflameMiddleware(self._app, guard=None, **options)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append((scope, current_context()))
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def ask(self, *scopes: Any) -> list[list[Any]]:
        """What is sent in answer to each; of an application that was reached nothing but that is of interest."""

        async def one(scope: Any) -> list[Any]:
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request"}

            async def send(message: Any) -> None:
                sent.append(message)

            await self._guarded(scope, receive, send)
            return sent

        async def run() -> list[list[Any]]:
            return [await one(scope) for scope in scopes]

        return asyncio.run(run())


def status_of(sent: list[Any]) -> int | None:
    return next((message["status"] for message in sent if "status" in message), None)


# --- whatever comes as a request ---

_JUNK = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"", b" ", b"Bearer", b"a.b.c", b"\xff\xfe", b"x" * 20_000, b"Bearer " + b"a" * 20_000, b'",\\']
    ),
)
_ADDRESSES = st.sampled_from(
    [
        "192.0.2.1",
        "10.0.0.1",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "2001:db8::2",
        "fe80::1%eth0",
        "",
        "unix",
        "\ud800",
    ]
)
_CLIENTS = st.one_of(st.none(), st.tuples(_ADDRESSES, st.integers(0, 65_535)))
_PATHS = st.sampled_from([
    "/chat", "/", "/health", "/health/", "/docs/a", "/docs/../chat", "/docs//chat", "/admin/x", "//admin/x",
    "/write", "/write/", "/ch\u00e4t", "/\ud800", "/a?b", "/a#b", "/docs/%2e%2e/chat", "/v1/messages", "",
])  # fmt: skip
_NAMES = st.sampled_from([
    b"x-highflame-user", b"X-Javelin-Role", b"x-request-id", b"Host", b"dpop", b"accept", b"traceparent",
    b"authorization", b"x-api-key", b"Proxy-Authorization", b"x-forwarded-for",
])  # fmt: skip
_OTHER = st.lists(st.tuples(_NAMES, _JUNK), max_size=3)


def request(draw: st.DrawFn, path: str, *headers: tuple[bytes, bytes], **fields: Any) -> Any:
    """A scope, some of whose fields a server may leave out."""
    scope = scope_of(path="/", json_body=False, **{"client": draw(_CLIENTS), **fields})
    scope |= {"path": path, "raw_path": path.encode("utf-8", "replace"), "headers": list(headers)}
    for name in draw(st.lists(st.sampled_from(["raw_path", "client", "server", "root_path", "query_string"]))):
        scope.pop(name, None)
    if draw(st.integers(0, 5)) == 0:
        extensions: Any = {"websocket.http.response": {}} if draw(st.booleans()) else None
        scope |= {"type": "websocket", "scheme": "wss", "extensions": extensions}
        del scope["method"]
    return scope


# --- tokens ---

_VALUES: Any = st.sampled_from([
    None, True, 0, -1, 1e308, float("nan"), 10**400, "", "x", "\u00e9\ud800", "\0", "a" * 5000, [], {}, ["x", 1],
    "u", {"jkt": "\u00e9"}, {"act": {"sub": 1}}, RESOURCE, [RESOURCE], "deactivated", "suspended", "first_party",
])  # fmt: skip
_CLAIMS = ["iss", "sub", "aud", "resource", "exp", "iat", "nbf", "jti", "act", "scopes", "cnf", "status",
           "trust_level", "principal_type", "session_id", "role", "account_id"]  # fmt: skip
_CHANGED: Any = st.one_of(
    st.sampled_from(
        [{"exp": 1}, {"nbf": 1e11}, {"iat": 1e11}, {"resource": "https://other.test"}, {"resource": None}]
    ),
    st.sampled_from(
        [{"iss": "https://other.test"}, {"status": "deactivated"}, {"status": "suspended"}, {"jti": None}]
    ),
    st.sampled_from([{"cnf": {"jkt": "x"}}, {"cnf": {"x5t#S256": "x"}}, {"sub": ""}, {"exp": None}]),
    st.dictionaries(st.sampled_from(_CLAIMS), _VALUES, max_size=2),
)
_HEADERS: Any = st.sampled_from([
    {"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": None}, {"typ": "dpop+jwt"}, {"typ": 1},
    {"kid": None}, {"kid": "other"}, {"kid": "\ud800"}, {"kid": "../" * 200}, {"crit": ["x"]},
    {"b64": False}, {"jwk": {}},
])  # fmt: skip
_ALPHABET = st.sampled_from("ABYZabyz0189-_.= /+\u00e9\0")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(header: Any, payload: str) -> str:
    """A token with that header, and a signature that is good whatever it says."""
    content = f"{encoded(header)}.{payload}"
    key = authority()._published[authority().kid].private
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(content.encode(), key)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@cache
def good() -> str:
    return authority().issue(agent(), resource=RESOURCE, user="user-1")


def _changed(draw: st.DrawFn) -> str:
    """A token that is signed as it should be, and says something else."""
    if draw(st.booleans()):
        return authority().sign({**authority().claims_of(good()), **draw(_CHANGED)})
    return signed({"alg": "ES256", "kid": authority().kid, **draw(_HEADERS)}, good().split(".")[1])


def token_of(draw: st.DrawFn) -> str:
    """A token that holds, or one that was changed in some way."""
    token = good()
    how = draw(
        st.sampled_from(["good", "good", "character", "cut", "claim", "header", "key", "hmac", "joined", "junk"])
    )
    _, payload, signature = token.split(".")
    if how == "character":
        place = draw(st.integers(0, len(token) - 1))
        return token[:place] + draw(_ALPHABET) + token[place + 1 :]
    if how == "cut":
        return token[draw(st.integers(0, 40)) : len(token) - draw(st.integers(0, 100))]
    if how == "joined":
        return draw(
            st.sampled_from([token + token, f"{token},{token}", f"{token} {token}", f".{token}", f"{token}."])
        )
    if how in ("claim", "header"):
        return _changed(draw)
    if how == "key":
        return authority().sign(authority().claims_of(token), holder=holders()[0])
    if how == "hmac":
        # The public key as if it were a shared secret; or no signature.
        header = encoded({"alg": draw(st.sampled_from(["HS256", "none", "None"])), "kid": authority().kid})
        return f"{header}.{payload}.{draw(st.sampled_from([signature, 'AA', '']))}"
    return draw(st.text(max_size=30)) if how == "junk" else token


def holds(token: str) -> bool:
    """Whether a token is one, as PyJWT reads it."""
    published = authority().keys()
    keys = {key["kid"]: jwt.PyJWK(key).key for key in published}
    try:
        header = jwt.get_unverified_header(token)
        if {"crit", "b64"} & set(header) or header.get("typ", "JWT") != "JWT":
            return False
        key = keys[header["kid"]]
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            issuer=authority().issuer,
            leeway=31,
            options={"require": ["exp", "iat", "jti", "sub"], "verify_aud": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, KeyError, ValueError, OverflowError, TypeError):
        return False
    # To PyJWT a moment that is null is none at all; to us it is as if nothing was said.
    begins = claims.get("nbf")
    if begins is not None and not (isinstance(begins, int | float) and begins <= verifier().now() + 31):
        return False
    named = claims.get("resource")
    is_here = named == RESOURCE or (isinstance(named, list) and RESOURCE in named)
    # One that is bound to a key says nothing without a proof.
    return is_here and claims.get("status") not in ("deactivated", "suspended") and not claims.get("cnf")


_CHALLENGE = re.compile(
    r'(Bearer|DPoP)( [a-z_]+="[\x20-\x21\x23-\x5b\x5d-\x7e]*"(, [a-z_]+="[\x20-\x21\x23-\x5b\x5d-\x7e]*")*)?'
)
_ERRORS = {"invalid_request", "invalid_token", "insufficient_scope", "invalid_dpop_proof", "use_dpop_nonce"}


def check_refusal(sent: list[Any], *secrets: str, logged: str = "") -> None:
    """It is an answer as RFC 6750 has it, and quotes nothing that was presented."""
    start = sent[0]
    if start["type"] == "websocket.close":
        assert start["code"] == 1008
        return
    status, headers = start["status"], start["headers"]
    assert status in REFUSED
    lines = [value.decode("ascii") for name, value in headers if name == b"www-authenticate"]
    assert lines or status == 503, "a refusal says how to be let in"
    for line in lines:
        assert _CHALLENGE.fullmatch(line), line
        assert set(re.findall(r'error="([^"]*)"', line)) <= _ERRORS
    body = b"".join(message.get("body", b"") for message in sent)
    json.loads(body)
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    told = body.decode() + logged + "".join(f"{name!r}{value!r}" for name, value in headers)
    assert "\r" not in told
    for secret in secrets:
        for part in secret.split("."):
            assert len(part) < 12 or part not in told, "what was presented is quoted"


_SPELLINGS = ["Bearer ", "Bearer ", "Bearer ", "bearer   ", "BEARER ", "DPoP ", "Basic ", "", "Bearer\t", "Bearer"]


@fuzzed
@given(data=st.data())
def test_no_token_says_more_than_it_was_signed_for(data: Any) -> None:
    token = data.draw(st.composite(_changed)())
    door = Door(authenticator=Authenticator(verifier()))
    (sent,) = door.ask(scope_of(headers=[("authorization", f"Bearer {token}")]))
    if door.seen:
        assert holds(token)
    else:
        check_refusal(sent, token)


@fuzzed
@given(
    data=st.data(),
    path=st.just("/chat") | _PATHS,
    spelled=st.sampled_from(_SPELLINGS),
    times=st.sampled_from([1, 1, 1, 0, 2]),
)
def test_nobody_is_let_in_without_a_token_that_holds(data: Any, path: str, spelled: str, times: int) -> None:
    token = data.draw(st.composite(token_of)())
    sent_as = (spelled + token).encode("utf-8", "surrogatepass")
    other = [row for row in data.draw(_OTHER) if row[0] != b"authorization" or data.draw(st.booleans())]
    headers = [*other, *[(b"Authorization", sent_as)] * times]
    scope = data.draw(st.composite(request)(path, *headers))
    is_open = data.draw(st.booleans())
    door = Door(
        authenticator=Authenticator(verifier(), realm='a "realm"', resource_metadata=f"{RESOURCE}/\u00e9"),
        exempt_paths=["/docs/*"],
        required_scopes={"/admin/*": ["nhi:manage"], "/write": ["tools:write"]},
        allow_unauthenticated=is_open,
        trusted_peers=["10.0.0.0/8"],
    )
    logged = Logged()
    root = logging.getLogger()
    root.addHandler(logged)
    try:
        (sent,) = door.ask(scope)
    finally:
        root.removeHandler(logged)
    given_as = [value for name, value in headers if name.lower() == b"authorization"]
    asks = "admin" in path or "write" in path
    free = path in ("/health", "/docs/a", "/docs/%2e%2e/chat") or (
        is_open and not asks and not _presented(given_as)
    )
    fine = times == len(given_as) == 1 and re.fullmatch("(?i)bearer +", spelled) is not None and holds(token)
    assert token not in logged.text or len(token) < 12
    if door.seen:
        assert free or fine, "somebody is let in"
        if "admin" in path:
            raise AssertionError("a scope is missing")
    else:
        assert not free
        check_refusal(sent, token, logged=logged.text)
        assert asks or token != good() or not fine, "a token that holds is enough"


def _presented(given: list[bytes]) -> bool:
    """Whether somebody means to be somebody."""
    words = [value.strip().partition(b" ")[0].lower() for value in given]
    return len(given) > 1 or any(word in (b"bearer", b"dpop") for word in words)


# --- proofs ---

_TIMES = st.sampled_from([0, 0, 0, 0, 0, -59, -70, 4, 10, float("nan"), 1e308, None, "x", True])
_CHANGES: Any = st.just({}) | st.sampled_from([
    {"htm": "GET"}, {"htu": f"{RESOURCE}/other"}, {"htu": "https://[::1/chat"}, {"htu": "\ud800"},
    {"ath": "\ud800"}, {"ath": "\u00e9"}, {"ath": None}, {"jti": "\ud800"}, {"jti": None}, {"jti": "a" * 300},
    {"nonce": "\ud800"}, {"htm": "\ud800"}, {"htu": None}, {"htm": ["POST"]},
])  # fmt: skip
_HOSTS = st.sampled_from([
    b"api.example.test", b"api.example.test", b"[::1", b"evil.test", b"api.example.test/chat?", b"x/chat#", b"\xff",
    b"api.example.test/chat#", b"a@api.example.test", b"[", b"a:99999999", b"\xe2\x84\x80.test",
])  # fmt: skip


@fuzzed
@given(
    data=st.data(),
    changes=_CHANGES,
    ahead=_TIMES,
    host=_HOSTS,
    path=st.sampled_from(["/chat", "/chat", "/other", "/chat?x", "/chat?x", "/chat#x", "/\ud800"]),
    origin=st.sampled_from([None, RESOURCE]),
    bound=st.sampled_from(["", "", "", "", "\u00e9", "\ud800"]),
    signs=st.sampled_from([0, 0, 0, 1]),
    count=st.sampled_from([1, 1, 1, 0, 2]),
)
def test_no_proof_is_good_for_another_request(
    data: Any, changes: Any, ahead: Any, host: bytes, path: str, origin: Any, bound: str, signs: int, count: int
) -> None:
    holder = holders()[0]
    token = authority().issue(agent(), resource=RESOURCE, jkt=bound or holder.jkt)
    now = verifier().now()
    moment = (
        {"iat": now + ahead} if isinstance(ahead, int | float) and not isinstance(ahead, bool) else {"iat": ahead}
    )
    proof = holders()[signs].proof(token, "POST", URL, **{**moment, **changes})
    rows = [(b"host", host), (b"authorization", f"DPoP {token}".encode()), *[(b"dpop", proof.encode())] * count]
    scope = scope_of(path="/", json_body=False, scheme="https")
    scope |= {"path": path, "raw_path": path.encode("utf-8", "replace"), "headers": rows}
    if data.draw(st.booleans()):
        del scope["raw_path"]
    elif "?" in path:
        scope |= {"raw_path": b"/chat", "path": "/chat", "query_string": b"x"}
    door = Door(authenticator=Authenticator(verifier(), origin=origin, proofs=Proofs()))
    first, again = door.ask(scope, scope)
    is_here = scope["path"] == "/chat" and (origin is not None or host == b"api.example.test")
    is_sound = set(changes) <= {"nonce"} and signs == 0 and count == 1 and ahead in (0, -59, 4)
    is_sound = is_sound and not isinstance(ahead, bool) and not bound
    assert len(door.seen) == (1 if is_here and is_sound else 0), "as good as it is, and once"
    for sent in (again,) if door.seen else (first, again):
        check_refusal(sent, token, proof)


# --- how often ---

_KEYS = [b"k1", b"k2", b"k3", b"k4"]
_KEY_NAMES = [b"x-api-key", b"X-Api-Key", b"api-key", b"x-goog-api-key", b"x-highflame-apikey"]
_KEY_ROWS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(_KEY_NAMES), st.sampled_from(_KEYS)),
        st.tuples(
            st.sampled_from([b"authorization", b"Authorization"]),
            st.builds(
                lambda spelled, key: spelled + key,
                st.sampled_from([b"Bearer ", b"bearer \t", b""]),
                st.sampled_from(_KEYS),
            ),
        ),
        st.tuples(
            st.sampled_from([b"x-highflame-user", b"x-forwarded-for", b"x-request-id"]), st.binary(max_size=9)
        ),
    ),
    max_size=4,
)


def _network(client: Any) -> str:
    """Whom an address belongs to, said in another way than the middleware does."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 6 and address.ipv4_mapped is not None:  # type: ignore[union-attr]
        return str(address.ipv4_mapped)  # type: ignore[union-attr]
    return str(address) if address.version == 4 else address.packed[:8].hex()


@fuzzed
@given(
    requests=st.lists(st.tuples(_CLIENTS, _KEY_ROWS), max_size=14),
    limits=st.sampled_from(
        [{"key": "2/day"}, {"address": "3/day"}, {"key": "2/day", "address": "4/day"}, {"user": "3/day"}]
    ),
)
def test_no_header_makes_more_of_a_limit(requests: Any, limits: Any) -> None:
    door = Door(rate_limits=limits)
    for client, rows in requests:
        door.ask(scope_of(client=client, headers=[], json_body=False) | {"headers": rows})
    by_key: Counter[bytes] = Counter()
    by_network: Counter[str] = Counter()
    for scope, _ in door.seen:
        rows = [
            row
            for row in scope["headers"]
            if row[0].lower() not in (b"x-highflame-user", b"x-forwarded-for", b"x-request-id")
        ]
        # An application may go by any of them.
        by_key.update({value.split()[-1] for _, value in rows})
        if not rows or "key" not in limits or "address" in limits:
            by_network[_network(scope["client"])] += 1
    most = {name: int(text.partition("/")[0]) for name, text in limits.items()}
    assert max(by_key.values(), default=0) <= most.get("key", 99)
    assert max(by_network.values(), default=0) <= most.get("address", most.get("user", 2))


@fuzzed
@given(data=st.data(), count=st.integers(1, 12))
def test_who_is_refused_is_counted_too(data: Any, count: int) -> None:
    """Guessing does not come cheaper than calling; and it takes nothing from those whose token holds."""
    by = data.draw(st.sampled_from(["user", "key", "address"]))
    door = Door(authenticator=Authenticator(verifier()), rate_limits={by: "3/day"}, trusted_peers=["*"])
    scopes = [
        scope_of(json_body=False)
        | {"headers": [(b"authorization", b"Bearer " + data.draw(_JUNK)), *data.draw(_OTHER)]}
        for _ in range(count)
    ]
    statuses = [status_of(sent) for sent in door.ask(*scopes)]
    assert not door.seen
    assert statuses[3:] == [429] * len(statuses[3:])
    assert 429 not in statuses[:3]
    if by == "user":
        honest = scope_of(json_body=False) | {"headers": [(b"authorization", f"Bearer {good()}".encode())]}
        assert [status_of(sent) for sent in door.ask(*[honest] * 5)] == [200, 200, 200, 429, 429]


@fuzzed
@given(size=st.integers(10, 60), flood=st.integers(0, 400), every=st.integers(2, 50))
def test_counters_stay_within_bounds_and_forget_nobody_near_a_limit(size: int, flood: int, every: int) -> None:
    counters, passed = Counters(size), 0
    for place in range(-3, flood):
        regular = place < 0 or place % every == 0
        # Each of the others comes under another name.
        name = "regular" if regular else f"made up {place}"
        passed += counters.acquire_sliding_window_entry(name, 3, 86_400) and regular
    assert passed == 3
    assert counters.reset() <= size
