"""Keys: which are usable, when they are fetched, how long they are trusted. Defects Q and R are not ours."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from highflame_middleware.errors import IdentityUnavailableError
from highflame_middleware.identity.keys import Held, PublicKey, failed, fetched, read_key, read_keys, step
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, Clock, each_colour, refused, verifier_of, verify
from tests.servers import Answer, Server, json_answer

JWKS = "/.well-known/jwks.json"
BOTH = ("ES256", "RS256")


@pytest.fixture(scope="module")
def elliptic() -> dict[str, Any]:
    return Holder("ES256").jwk


@pytest.fixture(scope="module")
def rsa() -> dict[str, Any]:
    return Holder("RS256").jwk


class TestWhichAreUsable:
    @pytest.mark.parametrize(
        "more", [{}, {"use": "sig"}, {"alg": "ES256"}, {"key_ops": ["verify"]}, {"x5c": ["junk"]}]
    )
    def test_those_that_verify(self, elliptic: dict[str, Any], more: dict[str, Any]) -> None:
        found = read_key({**elliptic, "kid": "k", **more}, BOTH)
        assert found is not None
        assert (found.kid, found.algorithm) == ("k", "ES256")

    @pytest.mark.parametrize(
        "changes",
        [
            {"use": "enc"},
            {"alg": "ES384"},
            {"alg": "RS256"},
            {"alg": "HS256"},
            {"key_ops": ["sign"]},
            {"key_ops": "verify"},
            {"crv": "P-384"},
            {"crv": "secp256k1"},
            {"crv": None},
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "OKP", "crv": "Ed25519"},
            {"kty": None},
            {"kid": 7},
            {"kid": "x" * 257},
            {"x": None},
            {"x": "AAAA"},
            {"x": "!" * 43},
            {"x": "A" * 43, "y": "A" * 43},
            {"y": 7},
            {"y": "A" * 4000},
        ],
    )
    def test_those_that_do_not(self, elliptic: dict[str, Any], changes: dict[str, Any]) -> None:
        assert read_key({**elliptic, "kid": "k", **changes}, BOTH) is None

    def test_rsa_keys_that_are_weak_or_cost_too_much(self, rsa: dict[str, Any]) -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

        numbers = generate_private_key(65537, 1024).public_key().public_numbers()
        weak = base64.urlsafe_b64encode(numbers.n.to_bytes(128)).rstrip(b"=").decode()
        assert read_key({**rsa, "kid": "k"}, BOTH) is not None
        for changes in ({"n": weak}, {"e": "AQ"}, {"e": "Ag"}, {"e": rsa["n"]}, {"n": rsa["n"] * 8}):
            assert read_key({**rsa, "kid": "k", **changes}, BOTH) is None

    def test_a_private_key_is_not_kept_as_one(self, elliptic: dict[str, Any]) -> None:
        found = read_key({**elliptic, "kid": "k", "d": elliptic["x"]}, BOTH)
        assert found is not None
        assert not hasattr(found.key, "sign")

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"<html>", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"[]", "no set of keys"),
            (b'{"keys": {}}', "no set of keys"),
            (b'{"keys": []}', "no named key"),
            (b'{"keys": [7, null, {}]}', "no named key"),
            (json.dumps({"keys": [{}] * 65}).encode(), "more than 64"),
        ],
    )
    def test_what_is_no_set_of_keys(self, content: bytes, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            read_keys(content, BOTH)

    def test_what_is_of_no_use_does_not_hide_the_rest(self, elliptic: dict[str, Any], rsa: dict[str, Any]) -> None:
        listed = [7, {**rsa, "kid": "weak", "n": "AA"}, {**elliptic}, {**elliptic, "kid": "a"}, {**rsa, "kid": "a"}]
        keys = read_keys(json.dumps({"keys": listed}).encode(), BOTH)
        assert set(keys) == {("a", "ES256"), ("a", "RS256")}


# --- what to do, as a function -----------------------------------------------------------------------------------

KEY = PublicKey("k", "ES256", None)
NAME = ("k", "ES256")
EMPTY = Held(ttl=300, early=200, grace=300, apart=1)
FULL = fetched(EMPTY, {NAME: KEY}, 1000.0)


@pytest.mark.parametrize(
    ("held", "name", "wanted_at", "now", "expected"),
    [
        (EMPTY, NAME, 0, 0, "fetch"),
        (FULL, NAME, 1001, 1001, "use"),
        (FULL, NAME, 1200, 1200, "use and fetch"),
        (FULL, NAME, 1299, 1299, "use and fetch"),
        (FULL, NAME, 1300, 1300, "fetch"),
        (FULL, ("new", "ES256"), 1000.5, 1000.5, "wait 0.5"),
        (FULL, ("new", "ES256"), 1001, 1001, "fetch"),
        (FULL, ("new", "ES256"), 999, 1001, "unknown"),
        (FULL, ("k", "RS256"), 999, 1001, "unknown"),
        # The issuer is down: what is held is good for a while longer, then for nothing.
        (failed(FULL, 1290, 1295), NAME, 1301, 1301, "use and fetch"),
        (failed(FULL, 1590, 1595), NAME, 1599, 1599, "use and fetch"),
        (failed(FULL, 1590, 1595), NAME, 1595.5, 1600, "fetch"),
        (failed(FULL, 1600, 1600), NAME, 1599, 1600.5, "failed"),
        (failed(FULL, 1600, 1600), NAME, 1600.5, 1600.5, "failed"),
        (failed(FULL, 1600, 1600), NAME, 1601.5, 1601.5, "fetch"),
        # A failure of long ago is none of now: who comes after it asks before trusting what is too old.
        (failed(FULL, 1290, 1295), NAME, 1400, 1400, "fetch"),
        (failed(FULL, 1290, 1295), ("new", "ES256"), 1294, 1296, "failed"),
        (failed(EMPTY, 10, 12), NAME, 9, 12, "failed"),
        (failed(EMPTY, 10, 12), NAME, 13, 13, "fetch"),
    ],
)
def test_what_is_done(held: Held, name: Any, wanted_at: float, now: float, expected: str) -> None:
    found = step(held, name, wanted_at=wanted_at, now=now)
    said = [
        "use" if found.key else "",
        "unknown" if found.is_unknown else "",
        "failed" if found.has_failed else "",
        "fetch" if found.fetch else "",
        f"wait {found.wait:g}" if found.wait else "",
    ]
    assert " and ".join(filter(None, said)) == expected


def test_a_name_that_was_looked_for_is_not_looked_for_at_once_again() -> None:
    assert step(FULL, ("new", "ES256"), wanted_at=1010, now=1010, missing=True).is_unknown
    assert step(FULL, NAME, wanted_at=1010, now=1010, missing=True).key is KEY


# --- over HTTP ---------------------------------------------------------------------------------------------------


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@each_colour
def test_many_tokens_cost_one_fetch(authority: Authority, agent: Agent, colour: str) -> None:
    verifier = verifier_of(authority)
    for _ in range(20):
        verify(colour, verifier, authority.issue(agent, resource=RESOURCE))
    assert authority.asked(JWKS) == 1


def test_threads_that_come_at_once_share_a_fetch(authority: Authority, agent: Agent) -> None:
    authority.delay = 0.2
    verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: verifier.verify(token), range(16)))
    assert {claims.jti for claims in found} == {found[0].jti}
    assert authority.asked(JWKS) == 1


def test_tasks_that_come_at_once_share_a_fetch(authority: Authority, agent: Agent) -> None:
    authority.delay = 0.2
    verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await asyncio.gather(*[verifier.averify(token) for _ in range(16)])
        ticking.cancel()

    asyncio.run(main())
    assert authority.asked(JWKS) == 1
    assert ticks > 5  # the loop went on meanwhile


def test_one_that_leaves_takes_nobodys_fetch_along(authority: Authority, agent: Agent) -> None:
    authority.delay = 0.2
    verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)

    async def main() -> None:
        first = asyncio.create_task(verifier.averify(token))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(verifier.averify(token))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await second).sub == agent.uri
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert authority.asked(JWKS) == 1


@each_colour
def test_a_new_key_is_known_at_once(authority: Authority, agent: Agent, clock: Clock, colour: str) -> None:
    verifier = verifier_of(authority, timer=clock.timer)
    verify(colour, verifier, authority.issue(agent, resource=RESOURCE))
    clock.ahead += 5
    authority.rotate()
    verify(colour, verifier, authority.issue(agent, resource=RESOURCE))
    assert authority.asked(JWKS) == 2


class TestDefectQ:
    """A key that the issuer has taken out is trusted no more."""

    @each_colour
    def test_after_the_next_fetch(self, authority: Authority, agent: Agent, clock: Clock, colour: str) -> None:
        verifier = verifier_of(authority, timer=clock.timer)
        stolen, token = authority.kid, authority.issue(agent, resource=RESOURCE)
        verify(colour, verifier, token)
        authority.rotate()
        authority.remove(stolen)
        clock.ahead = 5  # within the time for which keys are held, so by any new key
        verify(colour, verifier, authority.issue(agent, resource=RESOURCE))
        assert refused(lambda: verify(colour, verifier, token)).code == "invalid_signature"

    @each_colour
    def test_without_anything_new_when_the_time_is_up(
        self, authority: Authority, agent: Agent, clock: Clock, colour: str
    ) -> None:
        verifier = verifier_of(authority, timer=clock.timer)
        token = authority.issue(agent, resource=RESOURCE)
        verify(colour, verifier, token)
        authority.remove(authority.kid)
        authority.rotate()
        clock.ahead = 301
        assert refused(lambda: verify(colour, verifier, token)).code == "invalid_signature"

    def test_in_the_background_before_that(self, authority: Authority, agent: Agent, clock: Clock) -> None:
        verifier = verifier_of(authority, timer=clock.timer)
        token = authority.issue(agent, resource=RESOURCE)
        verifier.verify(token)
        authority.remove(authority.kid)
        authority.rotate()
        clock.ahead = 201
        verifier.verify(token)  # nobody waits for the renewal, which this one sets off
        wait_until(lambda: authority.asked(JWKS) == 2)
        wait_until(lambda: "invalid_signature" in str(outcome(lambda: verifier.verify(token))))


def outcome(call: Callable[[], Any]) -> Any:
    try:
        call()
    except Exception as error:
        return getattr(error, "code", error)
    return None


class TestDefectR:
    """Made-up names keep nobody from a key that is new, nor the issuer busy."""

    @each_colour
    def test_a_rotated_key_is_found_right_after_a_made_up_one(
        self, authority: Authority, agent: Agent, colour: str
    ) -> None:
        verifier = verifier_of(authority)
        verify(colour, verifier, authority.issue(agent, resource=RESOURCE))
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        assert (
            refused(lambda: verify(colour, verifier, authority.sign(claims, kid="junk"))).code
            == "invalid_signature"
        )
        authority.rotate()
        verify(colour, verifier, authority.issue(agent, resource=RESOURCE))

    def test_in_a_flood_of_them(self, authority: Authority, agent: Agent) -> None:
        verifier = verifier_of(authority)
        verifier.verify(authority.issue(agent, resource=RESOURCE))
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        junk = [authority.sign(claims, kid=f"junk-{place}") for place in range(40)]
        stop = threading.Event()

        def flood(first: int) -> None:
            place = first
            while not stop.is_set():
                outcome(partial(verifier.verify, junk[place % len(junk)]))
                place += 1

        before, began = authority.asked(JWKS), time.monotonic()
        threads = [threading.Thread(target=flood, args=(5 * number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.3)
            authority.rotate()
            token, asked_at = authority.issue(agent, resource=RESOURCE), time.monotonic()
            verifier.verify(token)
            took = time.monotonic() - asked_at
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
        assert took < 4.0  # the pause between two fetches, a fetch or two, and a slow machine
        assert authority.asked(JWKS) - before <= time.monotonic() - began + 2

    def test_the_same_one_again_and_again_asks_nobody(
        self, authority: Authority, agent: Agent, clock: Clock
    ) -> None:
        verifier = verifier_of(authority, timer=clock.timer)
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        token = authority.sign(claims, kid="junk")
        for ahead in (0.0, 2.0, 4.0):
            clock.ahead = ahead
            assert refused(lambda: verifier.verify(token)).code == "invalid_signature"
        assert authority.asked(JWKS) == 1
        clock.ahead = 10.0  # but a key that comes a little late is found
        assert refused(lambda: verifier.verify(token)).code == "invalid_signature"
        assert authority.asked(JWKS) == 2

    def test_anothers_tokens_make_nobody_ask(self, authority: Authority, agent: Agent) -> None:
        verifier = verifier_of(authority)
        token = authority.issue(agent, resource=RESOURCE, iss="https://evil.example")
        assert refused(lambda: verifier.verify(token)).code == "invalid_issuer"
        assert authority.seen == []

    def test_no_more_wait_than_can(self, authority: Authority, agent: Agent) -> None:
        authority.delay = 1.0
        verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)

        async def main() -> list[Any]:
            return await asyncio.gather(*[verifier.averify(token) for _ in range(80)], return_exceptions=True)

        found = asyncio.run(main())
        left = [error for error in found if isinstance(error, IdentityUnavailableError)]
        assert len(left) == 16
        assert {error.code for error in left} == {"overloaded"}


class TestAnIssuerThatIsDown:
    @each_colour
    def test_nobody_is_let_in_on_no_keys(self, authority: Authority, agent: Agent, colour: str) -> None:
        authority.broken = True
        verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)
        error = refused(lambda: verify(colour, verifier, token), quoting=token)
        assert isinstance(error, IdentityUnavailableError)
        assert "503" in str(error)

    def test_it_is_not_asked_by_everybody_anew(self, authority: Authority, agent: Agent) -> None:
        authority.broken = True
        verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)
        for _ in range(50):
            refused(lambda: verifier.verify(token))
        assert len(authority.seen) <= 4

    def test_what_is_held_is_good_for_a_while(self, authority: Authority, agent: Agent, clock: Clock) -> None:
        verifier, token = verifier_of(authority, timer=clock.timer), authority.issue(agent, resource=RESOURCE)
        verifier.verify(token)
        authority.broken = True
        for ahead in (310, 400, 590):
            clock.ahead = ahead
            assert verifier.verify(token).sub == agent.uri
        clock.ahead = 601
        assert refused(lambda: verifier.verify(token)).code == "network_error"
        authority.broken = False
        clock.ahead = 610
        verifier.verify(token)

    def test_without_grace_it_is_not(self, authority: Authority, agent: Agent, clock: Clock) -> None:
        verifier = verifier_of(authority, timer=clock.timer, keys_grace=0)
        token = authority.issue(agent, resource=RESOURCE)
        verifier.verify(token)
        authority.broken, clock.ahead = True, 301
        assert refused(lambda: verifier.verify(token)).code == "network_error"

    @each_colour
    def test_one_that_is_silent_is_not_waited_for(self, authority: Authority, agent: Agent, colour: str) -> None:
        authority.delay = 30
        verifier, began = verifier_of(authority, timeout=0.5), time.monotonic()
        token = authority.issue(agent, resource=RESOURCE)
        assert refused(lambda: verify(colour, verifier, token)).code == "network_error"
        assert time.monotonic() - began < 5


class TestWhereTheKeysAre:
    @pytest.mark.parametrize("describes_itself", [True, False])
    def test_the_issuer_is_asked(self, authority: Authority, agent: Agent, describes_itself: bool) -> None:
        authority.describes_itself = describes_itself
        verifier_of(authority).verify(authority.issue(agent, resource=RESOURCE))
        assert [path for _, path in authority.seen] == ["/.well-known/oauth-authorization-server", JWKS]

    def test_or_they_are_where_it_is_said(self, authority: Authority, agent: Agent) -> None:
        verifier = verifier_of(authority, jwks_url=authority.issuer + JWKS)
        verifier.verify(authority.issue(agent, resource=RESOURCE))
        assert [path for _, path in authority.seen] == [JWKS]

    @pytest.mark.parametrize(
        ("document", "told"),
        [
            ({"issuer": "https://evil.example"}, "another issuer"),
            ({}, "another issuer"),
            ([], "another issuer"),
            (b"<html>", "no JSON"),
            ({"issuer": None, "jwks_uri": "http://keys.example/keys"}, "neither https"),
            ({"issuer": None, "jwks_uri": 7}, "neither https"),
        ],
    )
    def test_a_description_that_is_not_to_be_believed(
        self, authority: Authority, agent: Agent, provider: Server, document: Any, told: str
    ) -> None:
        if isinstance(document, dict) and "issuer" in document and document["issuer"] is None:
            document = {**document, "issuer": provider.url}
        provider.respond = json_answer(document)
        authority.issuer = provider.url
        error = refused(lambda: verifier_of(authority).verify(authority.issue(agent, resource=RESOURCE)))
        assert (error.code, told in str(error)) == ("network_error", True)

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (Answer(200, chunks=[b" " * 65_536] * 17), "more than 1048576 bytes"),
            (Answer(302, (("location", "https://evil.example/"),)), "302"),
            (Answer(200, (("content-encoding", "gzip"),), [b"x"]), "compressed"),
            (Answer(200, chunks=[b'{"keys"'], cut=True), "broke off"),
            (Answer(404), "404"),
        ],
    )
    def test_what_is_found_there_is_no_set_of_keys(
        self, authority: Authority, agent: Agent, provider: Server, answer: Answer, told: str
    ) -> None:
        provider.respond = lambda seen: answer
        verifier = verifier_of(authority, jwks_url=provider.url + JWKS)
        error = refused(lambda: verifier.verify(authority.issue(agent, resource=RESOURCE)))
        assert (error.code, told in str(error)) == ("network_error", True), error
        assert len(provider.log) == 1

    def test_keys_that_turn_into_nonsense_do_not_replace_good_ones(
        self, authority: Authority, agent: Agent, clock: Clock
    ) -> None:
        verifier, token = verifier_of(authority, timer=clock.timer), authority.issue(agent, resource=RESOURCE)
        verifier.verify(token)
        authority.document, clock.ahead = b'{"keys": []}', 310
        assert verifier.verify(token).sub == agent.uri


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_waits_for_nobody(authority: Authority, agent: Agent) -> None:
    """Forked in the middle of a fetch, whose thread is not there in the child."""
    authority.delay = 0.5
    verifier, token = verifier_of(authority), authority.issue(agent, resource=RESOURCE)
    thread = threading.Thread(target=verifier.verify, args=(token,))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = verifier.verify(token).sub == agent.uri
        finally:
            os._exit(0 if ok else 1)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
