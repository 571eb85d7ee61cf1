"""Where sessions are kept: memory and Redis remember the same, nothing is lost, everything is bounded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, MissingExtraError
from highflame_middleware.sessions import (
    EMPTY,
    MemorySessions,
    RedisSessions,
    Session,
    SessionFault,
    Sessions,
    merged,
)
from highflame_middleware.sessions.session import LISTS, MOST_COUNTED, MOST_FIRSTS
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]  # a fixture

CHANGE = Session(
    counts={"turns": 1, "risk": 90},
    peaks={"injection_score": 90},
    firsts={"pii:email": "1"},
    lists={"texts": ("ab",), "actions": ('["t","é"]',)},
)


@pytest.fixture(params=["memory", "redis"])
def sessions(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemorySessions()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    store = RedisSessions(server.url, timeout=2.0)
    yield store
    store.close()


def test_they_keep_the_contract(sessions: Any) -> None:
    assert isinstance(sessions, Sessions)
    assert sessions.load("s1") == EMPTY
    sessions.add("s1", CHANGE)
    assert sessions.load("s1") == CHANGE
    assert sessions.peek("s1") == CHANGE
    sessions.add("s1", Session(counts={"turns": 2}, peaks={"injection_score": 10, "pii_score": 95}))
    sessions.add("s1", Session(firsts={"pii:email": "2", "injection": "1"}, lists={"texts": ("cd", "ef")}))
    assert sessions.load("s1") == Session(
        counts={"turns": 3, "risk": 90},
        peaks={"injection_score": 90, "pii_score": 95},
        firsts={"pii:email": "1", "injection": "1"},
        lists={"texts": ("ab", "cd", "ef"), "actions": ('["t","é"]',)},
    )
    assert sessions.load("s2") == EMPTY


def test_what_is_deferred_is_there_with_the_next_load(sessions: Any) -> None:
    sessions.add("s1", CHANGE)
    sessions.defer("s1", Session(counts={"turns": 1}))
    sessions.defer("s2", Session(counts={"turns": 5}))
    assert sessions.peek("s1").counts["turns"] == 2
    assert sessions.load("s1").counts["turns"] == 2
    assert sessions.load("s2").counts["turns"] == 5


def test_no_update_is_lost(sessions: Any) -> None:
    def work(number: int) -> None:
        for _ in range(40):
            sessions.add("s1", Session(counts={"turns": 1}, peaks={"p": number}, lists={"texts": (f"{number}",)}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    now = sessions.load("s1")
    assert (now.counts["turns"], now.peaks["p"], len(now.lists["texts"])) == (320, 7, 256)


def test_everything_is_bounded(sessions: Any) -> None:
    sessions.add("s1", Session(counts={"n": MOST_COUNTED}, firsts={f"f{n}": "1" for n in range(MOST_FIRSTS + 50)}))
    for start in range(0, 400, 100):
        sessions.add(
            "s1",
            Session(counts={"n": 5}, lists={name: tuple(map(str, range(start, start + 100))) for name in LISTS}),
        )
    now = sessions.load("s1")
    assert now.counts["n"] == MOST_COUNTED
    assert len(now.firsts) <= MOST_FIRSTS
    assert {name: (len(items), items[-1]) for name, items in now.lists.items()} == {
        name: (most, "399") for name, most in LISTS.items()
    }


@pytest.mark.parametrize("name", ["", "ada@example.org", "\ud800", "x" * 100_000, "a\nb{c}"])
def test_any_id_will_do(sessions: Any, name: str) -> None:
    sessions.add(name, CHANGE)
    assert sessions.load(name) == CHANGE


def test_merging_is_the_same_in_any_order_but_for_lists() -> None:
    one, two = CHANGE, Session(counts={"risk": 5, "x": 1}, peaks={"injection_score": 95})
    assert merged(one, two) == merged(two, one)
    assert merged(merged(one, two), one) == merged(one, merged(two, one))


def test_the_memory_is_bounded_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("highflame_middleware.sessions.memory.monotonic", lambda: now[0])
    sessions = MemorySessions(max_sessions=2, ttl=10)
    for name in "abc":
        sessions.add(name, CHANGE)
    assert (len(sessions), bool(sessions.load("a")), bool(sessions.load("c"))) == (2, False, True)
    now[0] = 10.5
    assert sessions.load("c") == EMPTY
    assert len(sessions) == 1
    sessions.forget("b")
    assert len(sessions) == 0


# --- Redis alone -------------------------------------------------------------------------------------------------


def test_processes_share_a_session(redis_server: RedisServer) -> None:
    one, two = RedisSessions(redis_server.url), RedisSessions(redis_server.url)
    one.add("s1", CHANGE)
    assert two.peek("s1") == EMPTY
    assert two.load("s1") == two.peek("s1") == CHANGE
    two.defer("s1", CHANGE)
    two.close()
    assert one.load("s1").counts["turns"] == 2
    one.close()


def test_neither_the_id_nor_a_word_of_it_is_sent(redis_server: RedisServer) -> None:
    sessions = RedisSessions(redis_server.url, ttl=60, prefix="mine:")
    sessions.add("ada@example.org", CHANGE)
    client: Any = sessions._client
    keys = client.keys("*")
    assert len(keys) == 3
    assert all(key.startswith(b"mine:{") and b"ada" not in key for key in keys)
    assert all(0 < client.pttl(key) <= 60_000 for key in keys)
    sessions.close()


def test_a_client_of_the_applications_own(redis_server: RedisServer) -> None:
    import redis

    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    sessions = RedisSessions(client=client)
    sessions.add("s1", CHANGE)
    assert sessions.load("s1") == CHANGE
    client.close()


def test_what_somebody_else_wrote_there_is_a_fault(redis_server: RedisServer) -> None:
    for write in (
        lambda client, key: client.set(key, "a string"),
        lambda client, key: client.hset(key, "c:turns", "many"),
        lambda client, key: client.hset(key, "f:x", "y" * 10_000),
        lambda client, key: client.hset(key, "f:x", b"\xff"),
    ):
        sessions = RedisSessions(redis_server.url)
        client: Any = sessions._client
        client.flushall()
        sessions.add("s1", Session(counts={"risk": 1}))
        (key,) = client.keys("*")
        client.delete(key)
        write(client, key)
        with pytest.raises(SessionFault):
            sessions.load("s1")
        sessions.close()


def test_an_outage(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    sessions = RedisSessions(redis_server.url)
    sessions.add("s1", CHANGE)
    redis_server.stop()
    with caplog.at_level(logging.WARNING, "highflame_middleware.sessions"):
        with pytest.raises(SessionFault, match="ConnectionError"):
            sessions.load("s1")
        began = time.monotonic()
        for _ in range(100):  # nobody waits for what is known to be gone
            with pytest.raises(SessionFault):
                sessions.load("s1")
        assert time.monotonic() - began < 0.2
        assert len(caplog.records) == 1
        assert str(redis_server.port) not in caplog.text
        sessions.defer("s1", Session(counts={"turns": 1}))
        redis_server.start()
        sessions._down_until = 0.0
        # It came back empty; what was put off meanwhile has not been lost.
        assert sessions.load("s1").counts == {"turns": 1}
        redis_server.stop()
        sessions._down_until = 0.0
        with pytest.raises(SessionFault):
            sessions.add("s1", CHANGE)
        assert len(caplog.records) == 2
    sessions.close()


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_was_said() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sessions = RedisSessions(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        began = time.monotonic()
        with pytest.raises(SessionFault, match="Timeout"):
            sessions.load("s1")
        assert time.monotonic() - began < 2.0
        sessions.close()


def test_what_waits_to_be_written_is_bounded() -> None:
    sessions = RedisSessions("redis://127.0.0.1:1/0")
    for number in range(1_500):
        sessions.defer(str(number), CHANGE)
    assert len(sessions._deferred) == 1_000
    assert len(sessions._mirror) == 1_000
    sessions.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RedisSessions(),
        lambda: RedisSessions("redis://h", client=object()),
        lambda: RedisSessions("http://user:hunter2@h"),
        lambda: RedisSessions("redis://h", ttl=0),
        lambda: RedisSessions("redis://h", timeout=-1),
        lambda: MemorySessions(max_sessions=0),
        lambda: MemorySessions(ttl=float("nan")),
    ],
)
def test_options_that_cannot_be_used(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, extra: str, needed: str) -> Any:
        raise MissingExtraError(f"pip install 'highflame-middleware[{extra}]'")

    monkeypatch.setattr("highflame_middleware.sessions.redis.require", missing)
    with pytest.raises(MissingExtraError, match=r"\[redis\]"):
        RedisSessions("redis://localhost")


def test_threads_may_defer_while_others_load(redis_server: RedisServer) -> None:
    sessions = RedisSessions(redis_server.url, timeout=2.0)
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            sessions.load("other")

    with ThreadPoolExecutor(3) as pool:
        loading = [pool.submit(load) for _ in range(2)]
        for _ in range(200):
            sessions.defer("s1", Session(counts={"turns": 1}))
        over.set()
        for one in loading:
            one.result()
    assert sessions.load("s1").counts["turns"] == 200
    sessions.close()
