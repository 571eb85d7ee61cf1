"""Proofs of possession: for one token, one request, one moment, once; from the bare function to the door."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, IdentityUnavailableError, TokenError
from highflame_middleware.identity import Authenticator, Nonces, Proofs, SeenProofs
from highflame_middleware.identity.dpop import normalized
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, URL, Clock, authenticate, each_colour, refused, verifier_of


@pytest.fixture(scope="module")
def holder() -> Holder:
    return Holder()


@pytest.fixture(scope="module")
def other() -> Holder:
    return Holder()


TOKEN = "a.token.xyz"


def check(holder: Holder, proofs: Proofs | None = None, *, proof: str | None = None, **given: Any) -> None:
    """Check a proof for a POST to URL with TOKEN, made just now."""
    asked = {"method": "POST", "url": URL, "jkt": holder.jkt, "now": time.time(), **given}
    made = holder.proof(TOKEN, "POST", URL) if proof is None else proof
    (proofs or Proofs()).check(made, token=TOKEN, **asked)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_proof_that_holds(algorithm: str) -> None:
    check(Holder(algorithm))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"htm": "GET"}, "method"),
        ({"htm": "post"}, "method"),
        ({"htm": None}, "'htm'"),
        ({"htu": "https://api.example.test/other"}, "address"),
        ({"htu": "http://api.example.test/chat"}, "address"),
        ({"htu": "https://api.example.test:8443/chat"}, "address"),
        ({"htu": "/chat"}, "whole one"),
        ({"htu": "https://[::1/"}, "cannot be read"),
        ({"htu": "https://api.example.test:99999/chat"}, "cannot be read"),
        ({"htu": None}, "'htu'"),
        ({"ath": "another"}, "another token"),
        ({"ath": "é"}, "another token"),
        ({"ath": "\ud800"}, "'ath'"),
        ({"jti": "\ud800"}, "'jti'"),
        ({"ath": None}, "'ath'"),
        ({"jti": None}, "'jti'"),
        ({"jti": "x" * 257}, "'jti'"),
        ({"iat": None}, "when"),
        ({"iat": True}, "when"),
        ({"iat": "now"}, "when"),
        ({"iat": 10**400}, "just now"),
        ({"iat": float("nan")}, "just now"),
    ],
)
def test_a_claim_that_does_not_hold(holder: Holder, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(TokenError, match=told) as caught:
        check(holder, proof=holder.proof(TOKEN, "POST", URL, **changes))
    assert caught.value.code == "invalid_dpop_proof"


@pytest.mark.parametrize(("age", "held"), [(0, True), (60, True), (64, True), (66, False), (-4, True), (-6, False)])
def test_it_is_good_for_a_moment(holder: Holder, age: float, held: bool) -> None:
    now = time.time()
    proof = holder.proof(TOKEN, "POST", URL, now=now - age)
    if held:
        check(holder, proof=proof, now=now)
    else:
        with pytest.raises(TokenError, match="just now"):
            check(holder, proof=proof, now=now)


class TestWhoseItIs:
    def test_anothers(self, holder: Holder, other: Holder) -> None:
        with pytest.raises(TokenError, match="another key"):
            check(holder, proof=other.proof(TOKEN, "POST", URL))

    def test_with_a_key_that_did_not_sign_it(self, holder: Holder, other: Holder) -> None:
        stolen = Holder()
        stolen.private = other.private
        stolen.jwk = holder.jwk
        with pytest.raises(TokenError, match="signature"):
            check(holder, proof=stolen.proof(TOKEN, "POST", URL))

    @pytest.mark.parametrize(
        "change",
        [
            lambda jwk: {**jwk, "d": jwk["x"]},
            lambda jwk: {"kty": "oct", "k": "c2VjcmV0"},
            lambda jwk: {**jwk, "crv": "P-384"},
            lambda jwk: {**jwk, "x": "A" * 43},
            lambda jwk: {**jwk, "use": "enc"},
            lambda jwk: [jwk],
            lambda jwk: None,
        ],
    )
    def test_with_a_key_that_is_none(self, holder: Holder, change: Callable[[Any], Any]) -> None:
        token = holder.sign({"jti": "1"}, {"typ": "dpop+jwt", "jwk": change(holder.jwk)})
        with pytest.raises(TokenError, match="key"):
            check(holder, proof=token)

    @pytest.mark.parametrize("kind", ["JWT", "at+jwt", None, ""])
    def test_a_token_is_no_proof(self, holder: Holder, kind: str | None) -> None:
        """Nor is a proof a token: what one is for says its type."""
        parts = holder.proof(TOKEN, "POST", URL).split(".")
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        with pytest.raises(TokenError, match="type"):
            check(holder, proof=holder.sign(payload, {"typ": kind, "jwk": holder.jwk}))

    @pytest.mark.parametrize("proof", ["", "a.b", "a.b.c", "x" * 9000, "é.é.é"])
    def test_what_is_none_at_all(self, holder: Holder, proof: str) -> None:
        with pytest.raises(TokenError) as caught:
            check(holder, proof=proof)
        assert caught.value.code == "invalid_dpop_proof"


class TestUsedOnce:
    def test_the_same_again(self, holder: Holder) -> None:
        proofs, proof = Proofs(), holder.proof(TOKEN, "POST", URL)
        check(holder, proofs, proof=proof)
        with pytest.raises(TokenError, match="used before"):
            check(holder, proofs, proof=proof)

    def test_for_as_long_as_it_could_be_good(self, holder: Holder, clock: Clock) -> None:
        """Made by a clock that is ahead, used at once, and again at the last moment."""
        proofs = Proofs(replays=SeenProofs(timer=clock.timer), max_age=60, leeway=5)
        now = time.time()
        proof = holder.proof(TOKEN, "POST", URL, now=now + 4.9)
        check(holder, proofs, proof=proof, now=now)
        clock.ahead = 69.5
        with pytest.raises(TokenError, match="used before"):
            check(holder, proofs, proof=proof, now=now + 69.5)
        clock.ahead = 70.5
        with pytest.raises(TokenError, match="just now"):
            check(holder, proofs, proof=proof, now=now + 70.5)

    def test_one_that_does_not_hold_takes_no_room(self, holder: Holder) -> None:
        seen = SeenProofs()
        with pytest.raises(TokenError):
            check(holder, Proofs(replays=seen), proof=holder.proof(TOKEN, "GET", URL))
        assert len(seen) == 0

    def test_a_full_store_forgets_nothing_and_refuses(self, clock: Clock) -> None:
        seen = SeenProofs(16, timer=clock.timer)
        # One caller fills no more than its part.
        assert [seen.add("hostile", str(place), 60) for place in range(2)] == [True, True]
        with pytest.raises(IdentityUnavailableError):
            seen.add("hostile", "2", 60)
        for place in range(14):
            assert seen.add(f"caller-{place}", "1", 60)
        with pytest.raises(IdentityUnavailableError) as caught:
            seen.add("one-more", "1", 60)
        assert caught.value.code == "overloaded"
        assert not seen.add("hostile", "0", 60)
        clock.ahead = 61
        assert seen.add("one-more", "1", 60)
        assert len(seen) == 1


@each_colour
@pytest.mark.parametrize("name", ["add", "aadd"])
def test_a_store_that_does_not_say_takes_nothing(
    authority: Authority, agent: Agent, holder: Holder, name: str, colour: str
) -> None:
    """A coroutine where an answer should be would be as good as true, for every proof and each time."""

    async def added(*given: Any) -> Any:
        return None if name == "aadd" else True

    store: Any = type("Store", (), {"add": staticmethod(added), name: staticmethod(added)})()
    door = Authenticator(verifier_of(authority), proofs=Proofs(replays=store))
    token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
    headers = [(b"authorization", f"DPoP {token}".encode()), (b"dpop", holder.proof(token, "POST", URL).encode())]
    with pytest.raises(ConfigError, match="ReplayStore"):
        authenticate(colour, door, headers)


class TestNonces:
    def test_they_change_and_the_last_is_good_still(self, clock: Clock) -> None:
        nonces = Nonces(seconds=60, clock=lambda: 600 + clock.ahead)
        first = nonces.current()
        for ahead, held in ((0, True), (60, True), (119, True), (120, False)):
            clock.ahead = ahead
            assert nonces.holds(first) is held
        assert nonces.current() != first

    def test_replicas_know_each_others(self) -> None:
        secret = "s" * 32
        assert Nonces(secret).holds(Nonces(secret).current())
        assert not Nonces().holds(Nonces().current())

    @pytest.mark.parametrize("nonce", [None, "", "é", 7, ["x"], "x" * 100])
    def test_whatever_comes(self, nonce: Any) -> None:
        assert Nonces().holds(nonce) is False

    def test_the_next_one_is_told(self, holder: Holder) -> None:
        nonces = Nonces()
        proofs = Proofs(nonces=nonces)
        with pytest.raises(TokenError) as caught:
            check(holder, proofs)
        assert (caught.value.code, caught.value.nonce) == ("use_dpop_nonce", nonces.current())
        check(holder, proofs, proof=holder.proof(TOKEN, "POST", URL, nonce=caught.value.nonce))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("https://a.test", "https://a.test/", True),
        ("https://A.test/x", "https://a.test:443/x", True),
        ("http://a.test:80/x", "http://a.test/x?q=1#f", True),
        ("wss://a.test/x", "https://a.test/x", True),
        ("https://a.test/%7eada", "https://a.test/~ada", True),
        ("https://a.test/a%2fb", "https://a.test/a%2Fb", True),
        ("https://a.test/a%2Fb", "https://a.test/a/b", False),
        ("https://a.test/x", "https://a.test/x/", False),
        ("https://a.test/x", "https://a.test/X", False),
        ("https://a.test/x", "https://user@a.test/x", True),
        ("https://a.test/x", "https://a.test.evil/x", False),
        ("https://a.test/%2e%2e/x", "https://a.test/../x", True),
        ("https://a.test/../x", "https://a.test/x", False),
    ],
)
def test_when_two_addresses_are_one(one: str, two: str, same: bool) -> None:
    assert (normalized(one) == normalized(two)) is same


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Proofs(max_age=3600), "max_age"),
        (lambda: Proofs(leeway=-1), "leeway"),
        (lambda: Proofs(algorithms=["HS256"]), "HS256"),
        (lambda: Nonces("short"), "fewer than 32"),
        (lambda: Nonces(seconds=0), "seconds"),
        (lambda: SeenProofs(1), "most"),
    ],
)
def test_options_that_cannot_be_used(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


class TestAtTheDoor:
    def headers(self, token: str, *proofs: str, scheme: str = "DPoP") -> list[tuple[bytes, bytes]]:
        lines = [(b"authorization", f"{scheme} {token}".encode()), *((b"dpop", proof.encode()) for proof in proofs)]
        return [(b"host", b"x"), *lines]

    @each_colour
    def test_a_bound_token_with_its_proof(
        self, authority: Authority, agent: Agent, holder: Holder, colour: str
    ) -> None:
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        door = Authenticator(verifier_of(authority))
        headers = self.headers(token, holder.proof(token, "POST", URL))
        found = authenticate(colour, door, headers)
        assert (found.scheme, found.current_actor, found.token.reveal()) == ("DPoP", agent.uri, token)
        error = refused(lambda: authenticate(colour, door, headers), quoting=token)
        assert error.code == "invalid_dpop_proof"

    def test_a_bound_token_is_no_bearer_token(self, authority: Authority, agent: Agent, holder: Holder) -> None:
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        door = Authenticator(verifier_of(authority))
        headers = self.headers(token, holder.proof(token, "POST", URL), scheme="Bearer")
        assert refused(lambda: door.authenticate(headers, "POST", URL)).code == "invalid_dpop_proof"

    @pytest.mark.parametrize("count", [0, 2])
    def test_there_is_one_proof(self, authority: Authority, agent: Agent, holder: Holder, count: int) -> None:
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        headers = self.headers(token, *(holder.proof(token, "POST", URL) for _ in range(count)))
        door = Authenticator(verifier_of(authority))
        assert refused(lambda: door.authenticate(headers, "POST", URL)).code == "invalid_dpop_proof"

    def test_a_token_that_is_not_bound_proves_nothing(
        self, authority: Authority, agent: Agent, holder: Holder
    ) -> None:
        token = authority.issue(agent, resource=RESOURCE)
        headers = self.headers(token, holder.proof(token, "POST", URL))
        door = Authenticator(verifier_of(authority))
        assert refused(lambda: door.authenticate(headers, "POST", URL)).code == "invalid_token"

    def test_where_proofs_are_required(self, authority: Authority, agent: Agent, holder: Holder) -> None:
        door = Authenticator(verifier_of(authority), require_dpop=True)
        plain = authority.issue(agent, resource=RESOURCE)
        error = refused(lambda: door.authenticate(self.headers(plain, scheme="Bearer"), "POST", URL))
        challenges = [value for name, value in door.refuse(error).headers if name == "www-authenticate"]
        assert len(challenges) == 1
        assert challenges[0].startswith('DPoP error="invalid_dpop_proof"')
        bound = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        door.authenticate(self.headers(bound, holder.proof(bound, "POST", URL)), "POST", URL)

    def test_behind_a_proxy(self, authority: Authority, agent: Agent, holder: Holder) -> None:
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        inside = "http://10.0.0.7:8000/chat?x=1"
        headers = self.headers(token, holder.proof(token, "POST", URL))
        plain = Authenticator(verifier_of(authority))
        assert refused(lambda: plain.authenticate(headers, "POST", inside)).code == "invalid_dpop_proof"
        door = Authenticator(verifier_of(authority), origin=RESOURCE)
        assert door.authenticate(headers, "POST", inside).scheme == "DPoP"

    @pytest.mark.parametrize("inside", ["http://[::1/chat?x", "http:///chat", "http://[/chat#x"])
    def test_behind_a_proxy_the_host_may_be_anything(
        self, authority: Authority, agent: Agent, holder: Holder, inside: str
    ) -> None:
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        headers = self.headers(token, holder.proof(token, "POST", URL))
        plain = Authenticator(verifier_of(authority))
        assert refused(lambda: plain.authenticate(headers, "POST", inside)).code == "invalid_dpop_proof"
        door = Authenticator(verifier_of(authority), origin=RESOURCE)
        assert (
            refused(lambda: door.authenticate(headers, "POST", inside.replace("/chat", "/other"))).code
            == "invalid_dpop_proof"
        )
        assert door.authenticate(headers, "POST", inside).scheme == "DPoP"

    def test_a_nonce_is_asked_for_and_given(self, authority: Authority, agent: Agent, holder: Holder) -> None:
        door = Authenticator(verifier_of(authority), proofs=Proofs(nonces=Nonces()))
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
        error = refused(
            lambda: door.authenticate(self.headers(token, holder.proof(token, "POST", URL)), "POST", URL)
        )
        refusal = door.refuse(error)
        told = dict(refusal.headers)
        assert refusal.status == 401
        assert 'error="use_dpop_nonce"' in told["www-authenticate"]
        proof = holder.proof(token, "POST", URL, nonce=told["dpop-nonce"])
        door.authenticate(self.headers(token, proof), "POST", URL)

    def test_an_expired_token_uses_up_no_proof(self, authority: Authority, agent: Agent, holder: Holder) -> None:
        seen = SeenProofs()
        door = Authenticator(verifier_of(authority), proofs=Proofs(replays=seen))
        token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt, exp=1)
        headers = self.headers(token, holder.proof(token, "POST", URL))
        assert refused(lambda: door.authenticate(headers, "POST", URL)).code == "token_expired"
        assert len(seen) == 0
