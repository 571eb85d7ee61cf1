"""Used proofs that replicas share: a Redis of its own, verifiers that know nothing of each other, outages."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from highflame_middleware.errors import ConfigError, IdentityUnavailableError, TokenError
from highflame_middleware.identity import Authenticator, Proofs, RedisProofs
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, URL, authenticate, each_colour, refused, verifier_of
from tests.redis_server import RedisServer, redis_server
from tests.shield.kit import run_in

__all__ = ["redis_server"]


@pytest.fixture(scope="module")
def holder() -> Holder:
    return Holder()


@pytest.fixture
def stores(redis_server: RedisServer) -> Iterator[list[RedisProofs]]:
    """One for each of two replicas."""
    found = [RedisProofs(redis_server.url) for _ in range(2)]
    yield found
    for store in found:
        store.close()


def keep(colour: str, store: RedisProofs, owner: str = "key", name: str = "1", seconds: float = 60) -> bool:
    if colour == "blocking":
        return store.add(owner, name, seconds)

    async def main() -> bool:
        try:
            return await store.aadd(owner, name, seconds)
        finally:
            await store.aclose()

    return bool(run_in(colour, main))


def keys_in(url: str) -> dict[str, int]:
    """What Redis has, and for how many milliseconds yet."""
    import redis

    with redis.Redis.from_url(url) as client:
        return {key.decode(): client.pttl(key) for key in client.keys("*")}


@each_colour
def test_no_proof_passes_at_two_replicas(
    authority: Authority, agent: Agent, holder: Holder, stores: list[RedisProofs], colour: str
) -> None:
    doors = [Authenticator(verifier_of(authority), proofs=Proofs(replays=store)) for store in stores]
    token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)

    def headers() -> list[tuple[bytes, bytes]]:
        proof = holder.proof(token, "POST", URL).encode()
        return [(b"authorization", f"DPoP {token}".encode()), (b"dpop", proof)]

    for first, second in (doors, doors[::-1]):
        given = headers()
        assert authenticate(colour, first, given).current_actor == agent.uri
        for door in (second, first):
            error = refused(lambda: authenticate(colour, door, given), quoting=token)  # noqa: B023
            assert error.code == "invalid_dpop_proof"
        assert authenticate(colour, second, headers()).scheme == "DPoP"


def test_no_proof_passes_in_two_processes(
    authority: Authority, agent: Agent, holder: Holder, redis_server: RedisServer
) -> None:
    """Of any number of processes that are given one proof at the same time, one takes it."""
    token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)
    proof = holder.proof(token, "POST", URL)
    program = f"""
        import asyncio, sys
        from highflame_middleware.errors import IdentityError
        from highflame_middleware.identity import Authenticator, Proofs, RedisProofs, TokenVerifier

        async def main():
            verifier = TokenVerifier(issuer={authority.issuer!r}, resource={RESOURCE!r})
            door = Authenticator(verifier, proofs=Proofs(replays=RedisProofs({redis_server.url!r})))
            headers = [("authorization", "DPoP {token}"), ("dpop", {proof!r})]
            print("ready", flush=True)
            sys.stdin.readline()
            for _ in range(3):
                try:
                    await door.aauthenticate(headers, "POST", {URL!r})
                    print("taken")
                except IdentityError as error:
                    print(error.code)
            await door.aclose()

        asyncio.run(main())
    """
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(program)]
    pipe = subprocess.PIPE
    replicas = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for replica in replicas:
        assert replica.stdout is not None
        assert replica.stdout.readline() == "ready\n"
    told = [replica.communicate("go\n", timeout=60) for replica in replicas]
    assert sorted(line for out, _ in told for line in out.split()) == ["invalid_dpop_proof"] * 5 + ["taken"]
    assert [err for _, err in told] == ["", ""]


@each_colour
def test_what_is_kept(redis_server: RedisServer, stores: list[RedisProofs], colour: str) -> None:
    """By whom and which, for as long as it could come again, and nothing of either."""
    owner, name = "thumbprint-of-a-key", "é" * 200
    assert [keep(colour, store, owner, name, 70) for store in stores] == [True, False]
    assert keep(colour, stores[0], "another", name)
    assert keep(colour, stores[0], owner, "another")
    # Nobody's name runs on into another's.
    assert [keep(colour, stores[0], *pair) for pair in (("a b", "c"), ("a", "b c"))] == [True, True]
    found = keys_in(redis_server.url)
    assert len(found) == 5
    for key, left in found.items():
        assert key.startswith("highflame:proof:")
        assert len(key) == len("highflame:proof:") + hashlib.sha256().digest_size * 2
        assert 0 < left <= 70_000
    assert max(found.values()) > 60_000


def test_it_is_kept_no_longer(stores: list[RedisProofs]) -> None:
    assert stores[0].add("key", "1", 0.05)
    assert not stores[1].add("key", "1", 0.05)
    anyio.run(anyio.sleep, 0.1)
    assert stores[1].add("key", "1", 0.05)


def test_of_very_many_at_once_one_is_taken(redis_server: RedisServer, stores: list[RedisProofs]) -> None:
    """More than there are connections: those wait, in threads and on a loop."""
    taken: list[bool] = []
    threads = [
        threading.Thread(target=lambda store=stores[place % 2]: taken.append(store.add("key", "1", 60)))
        for place in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 49 + [True]

    async def main() -> None:
        async def one(name: str) -> None:
            taken.append(await stores[0].aadd("key", name, 60))

        async with anyio.create_task_group() as group:
            for place in range(200):
                group.start_soon(one, f"n{place % 100}")
        await stores[0].aclose()

    taken.clear()
    anyio.run(main)
    assert sorted(taken) == [False] * 100 + [True] * 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_connections_of_its_own(stores: list[RedisProofs]) -> None:
    store = stores[0]
    assert store.add("key", "1", 60)
    with store._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                found = [store.add("key", name, 60) for name in ("1", "2")]
                code = 0 if found == [False, True] else 2
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert [store.add("key", name, 60) for name in ("2", "3")] == [False, True]


@each_colour
def test_where_nobody_can_tell_no_proof_is_taken(
    authority: Authority,
    agent: Agent,
    holder: Holder,
    redis_server: RedisServer,
    colour: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from highflame_middleware.identity import replays

    monkeypatch.setattr(replays, "_PAUSE", 0.0)
    store = RedisProofs(redis_server.url.replace("redis://", "redis://:s3cr3t@"), timeout=0.3)
    door = Authenticator(verifier_of(authority), proofs=Proofs(replays=store))
    token = authority.issue(agent, resource=RESOURCE, jkt=holder.jkt)

    def headers() -> list[tuple[bytes, bytes]]:
        proof = holder.proof(token, "POST", URL).encode()
        return [(b"authorization", f"DPoP {token}".encode()), (b"dpop", proof)]

    redis_server.stop()
    with caplog.at_level(logging.WARNING, "highflame_middleware"):
        for _ in range(3):
            error = refused(lambda: authenticate(colour, door, headers()), quoting=token)
            assert isinstance(error, IdentityUnavailableError)
            refusal = door.refuse(error)
            assert (refusal.status, dict(refusal.headers)["retry-after"] != "") == (503, True)
    assert len([record for record in caplog.records if "used proofs" in record.message]) == 1
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in repr(store)
    store.close()


@each_colour
def test_it_goes_on_once_redis_is_back(
    redis_server: RedisServer, stores: list[RedisProofs], colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from highflame_middleware.identity import replays

    monkeypatch.setattr(replays, "_PAUSE", 0.0)
    store = stores[0]

    async def keep_again(name: str) -> bool:
        return await store.aadd("key", name, 60)

    async def main() -> None:
        assert await keep_again("1")
        redis_server.stop()
        with pytest.raises(IdentityUnavailableError):
            await keep_again("2")
        redis_server.start()
        assert await keep_again("2")
        assert not await keep_again("2")
        # A connection that has gone in between costs nobody anything.
        redis_server.stop()
        redis_server.start()
        assert await keep_again("3")
        await store.aclose()

    if colour != "blocking":
        run_in(colour, main)
        return
    assert keep(colour, store)
    redis_server.stop()
    with pytest.raises(IdentityUnavailableError):
        keep(colour, store, name="2")
    redis_server.start()
    assert keep(colour, store, name="2")


@each_colour
def test_one_that_does_not_answer(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for once: who comes in the next second is refused at once."""
    import socket
    from time import monotonic

    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisProofs(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.6)
        took = []
        for _ in range(3):
            began = monotonic()
            with pytest.raises(IdentityUnavailableError):
                keep(colour, store)
            took.append(monotonic() - began)
        assert 0.5 < took[0] < 5
        assert max(took[1:]) < 0.5
        store.close()


def test_a_bad_proof_is_not_kept(redis_server: RedisServer, stores: list[RedisProofs], holder: Holder) -> None:
    proofs = Proofs(replays=stores[0])
    with pytest.raises(TokenError):
        proofs.check(
            holder.proof("a.b.c", "GET", URL), token="a.b.c", jkt=holder.jkt, method="POST", url=URL, now=0.0
        )
    assert keys_in(redis_server.url) == {}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RedisProofs("localhost:6379"), "url such as"),
        (lambda: RedisProofs("http://:s3cr3t@localhost"), "url such as"),
        (lambda: RedisProofs("redis://localhost", timeout=0), "timeout"),
        (lambda: RedisProofs("redis://localhost", timeout=float("nan")), "timeout"),
    ],
)
def test_options_that_cannot_be_used(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        make()
    assert "s3cr3t" not in str(caught.value)
