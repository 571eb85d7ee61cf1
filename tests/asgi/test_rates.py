"""How often callers may come: by whom they are counted, what they are told, and what becomes of an outage."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import anyio
import pytest

from highflame_middleware import ConfigError, HighflameMiddleware
from highflame_middleware.asgi import counters as counting
from highflame_middleware.asgi.counters import Counters
from highflame_middleware.asgi.rates import BY, Rates
from highflame_middleware.testing import FakeGuard
from tests.asgi.kit import Echo
from tests.gateway_kit import ASK, BACKENDS, Sent, body_of, scope_of, serve
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]

HERE = ("192.0.2.1", 1)


class Door:
    """A middleware that counts, and requests through it, all on one loop."""

    def __init__(self, limits: Any, **options: Any) -> None:
        self.app = Echo()
        self.guarded = HighflameMiddleware(
            self.app, **{"guard": None, "rate_limits": limits, "trusted_peers": ["*"], **options}
        )

    async def ask(self, body: bytes = b"", **scope: Any) -> Sent:
        headers = scope.pop("headers", ())
        return await serve(self.guarded, scope_of(headers=headers, **{"client": HERE, **scope}), [body])

    def asked(self, *requests: dict[str, Any], backend: str = "asyncio") -> list[int]:
        async def run() -> list[int]:
            return [(await self.ask(**request)).status for request in requests]

        return anyio.run(run, backend=backend)


def by(name: str, value: str) -> dict[str, Any]:
    return {"headers": [(name, value)]}


IPV6, NEIGHBOUR = {"client": ("2001:db8::1", 1)}, {"client": ("2001:db8::2", 1)}

# What is counted by, and requests with their statuses, two of a kind being allowed in an hour.
COUNTED: dict[str, tuple[str, list[tuple[dict[str, Any], int]]]] = {
    "address": ("address", [({}, 200), ({}, 200), ({}, 429), ({"client": ("192.0.2.2", 1)}, 200), ({}, 429)]),
    "port": ("address", [({}, 200), ({"client": ("192.0.2.1", 9)}, 200), ({"client": ("192.0.2.1", 3)}, 429)]),
    "network": ("address", [(IPV6, 200), (NEIGHBOUR, 200), (IPV6, 429), ({"client": ("2001:db8:0:1::1", 1)}, 200)]),
    "mapped": ("address", [({"client": ("::ffff:192.0.2.1", 1)}, 200), ({}, 200), ({}, 429)]),
    "no address": ("address", [({"client": None}, 200), ({"client": None}, 200), ({"client": None}, 429)]),
    "user": (
        "user",
        [
            (by("x-highflame-user", "ada"), 200),
            (by("x-highflame-user", "ada"), 200),
            (by("x-highflame-user", "ada"), 429),
            (by("x-highflame-user", "ben"), 200),
        ],
    ),
    "key": (
        "key",
        [
            (by("authorization", "Bearer a"), 200),
            (by("authorization", "Bearer a"), 200),
            (by("authorization", "Bearer a"), 429),
            (by("authorization", "Bearer b"), 200),
            (by("x-api-key", "a"), 429),
            (by("x-api-key", "c"), 200),
        ],
    ),
    # Whatever stands beside a key, and however it is spelled: it is counted all the same.
    "spelled": (
        "key",
        [
            (by("authorization", "Bearer a"), 200),
            (by("Authorization", " bearer   a "), 200),
            (by("AUTHORIZATION", "BEARER a"), 429),
            (by("authorization", "Bearer\t a"), 429),
            (by("x-api-key", "a"), 429),
            ({"headers": [("authorization", "Bearer b"), ("x-api-key", "a")]}, 429),
            ({"headers": [("authorization", "Bearer c"), ("authorization", "Bearer a")]}, 429),
            ({"headers": [("x-api-key", f"k{number}") for number in range(5)]}, 400),
            (by("authorization", "c"), 200),
            (by("authorization", "c"), 429),
        ],
    ),
    "nobody": ("user", [({}, 200), (by("x-highflame-user", ""), 200), ({}, 429)]),
    "no key": ("key", [({}, 200), ({}, 200), ({}, 429), (by("x-api-key", "k"), 200)]),
    "health": ("address", [({"path": "/health"}, 200)] * 5),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", COUNTED)
def test_by_whom_requests_are_counted(name: str, backend: str) -> None:
    what, rows = COUNTED[name]
    door = Door({what: "2/hour"})
    assert door.asked(*(request for request, _ in rows), backend=backend) == [status for _, status in rows]
    assert len(door.app.scopes) == [status for _, status in rows].count(200)


@pytest.mark.parametrize("name", BY)
def test_everything_to_count_by(name: str) -> None:
    identity = [(f"x-highflame-{item}", "x") for item in ("user", "account", "application", "session")]
    request = {"headers": [*identity, ("x-api-key", "x")]}
    other = {**request, "client": ("198.51.100.1", 1)}
    third = other if name != "address" else request
    assert Door({name: "2/hour"}).asked(request, request, third) == [200, 200, 429]


def test_what_callers_are_told() -> None:
    door = Door({"user": "3/minute;5/hour", "address": "4/hour"})

    async def run() -> list[Sent]:
        return [await door.ask(headers=[("x-highflame-user", "ada")]) for _ in range(4)]

    sent = anyio.run(run)
    assert [one.status for one in sent] == [200, 200, 200, 429]
    (policy,) = sent[0].header("ratelimit-policy")
    assert policy == '"user";q=3;w=60, "user-1";q=5;w=3600, "address";q=4;w=3600'
    (state,) = sent[0].header("ratelimit")
    assert [part.split(";")[:2] for part in state.split(", ")] == [
        ['"user"', "r=2"],
        ['"user-1"', "r=4"],
        ['"address"', "r=3"],
    ]
    (wait,) = sent[3].header("retry-after")
    assert 1 <= int(wait) <= 60
    assert sent[3].header("ratelimit")[0].startswith('"user";r=0;t=')
    assert (sent[3].json["code"], sent[3].header("x-request-id") != []) == ("too_many_requests", True)
    assert "ada" not in sent[3].body.decode()


def test_a_caller_is_told_in_the_shape_of_its_api() -> None:
    door = Door({"address": "1/hour"}, guard=FakeGuard(deny=["SECRET"]))

    async def run() -> list[Sent]:
        return [await door.ask(body_of(ASK), path="/v1/messages") for _ in range(2)]

    first, second = anyio.run(run)
    assert (first.status, bool(first.header("ratelimit"))) == (403, True), "a verdict is told with them too"
    assert (second.status, second.json["error"]["type"]) == (429, "rate_limit_error")


@pytest.mark.parametrize("whole", [True, False])
def test_handshakes_of_websockets_are_counted(whole: bool) -> None:
    """They are answered as requests are, where the server can do that; else it closes them, which is a 403."""
    door, opened = Door({"address": "1/hour"}), []
    extensions: Any = {"websocket.http.response": {}} if whole else {}
    scope = {**scope_of(json_body=False, client=HERE), "type": "websocket", "extensions": extensions}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        opened.append(await receive())
        await send({"type": "websocket.accept"})

    door.guarded._app = app

    async def run() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        for _ in range(2):
            await door.guarded({**scope}, receive, send)
        return sent

    sent = anyio.run(run)
    assert (len(opened), sent[0]["type"]) == (1, "websocket.accept")
    if whole:
        assert (sent[1]["type"], sent[1]["status"]) == ("websocket.http.response.start", 429)
        assert {b"retry-after", b"ratelimit", b"x-request-id"} <= dict(sent[1]["headers"]).keys()
    else:
        assert sent[1:] == [{"type": "websocket.close", "code": 1008, "reason": ""}]


def test_counters_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters(size=100)
    for number in range(1000):
        assert counters.acquire_sliding_window_entry(f"k{number}", 2, 3600)
    assert counters.reset() <= 101
    now = 1_000_000.0
    monkeypatch.setattr(counting.time, "time", lambda: now)
    assert [counters.acquire_sliding_window_entry("k", 2, 60) for _ in range(3)] == [True, True, False]
    assert counters.get_sliding_window("k", 60)[2] == 2
    now += 60
    previous, left, current, _ = counters.get_sliding_window("k", 60)
    assert (previous, current, 0 < left <= 60) == (2, 0, True)
    now += 60
    assert counters.get_sliding_window("k", 60)[0] == 0
    counters.clear_sliding_window("k", 60)
    assert counters.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_counting_goes_on_after_a_fork() -> None:
    door = Door({"address": "2/hour"})
    assert door.asked({}) == [200]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if door.asked({}, {}) == [200, 429] else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert door.asked({}, {}) == [200, 429]


def test_without_the_package_a_limit_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "limits" or name.startswith("limits.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "limits", None)
    from highflame_middleware.errors import MissingExtraError

    with pytest.raises(MissingExtraError, match=r"highflame-middleware\[limits\]"):
        Rates({"user": "1/minute"})


# Counters that processes share.


@pytest.mark.parametrize("backend", BACKENDS)
def test_processes_share_their_counters(redis_server: RedisServer, backend: str) -> None:
    one, other = (Door({"user": "3/hour"}, rate_storage=redis_server.url) for _ in range(2))
    user = by("x-highflame-user", f"ada-{backend}")

    async def run() -> list[int]:
        return [(await door.ask(**user)).status for door in (one, other, one, other, one)]

    assert anyio.run(run, backend=backend) == [200, 200, 200, 429, 429]


def test_two_doors_on_one_loop_have_each_their_own_store(redis_server: RedisServer) -> None:
    other = redis_server.url.removesuffix("/0") + "/1"
    one, two = (Door({"address": "1/hour"}, rate_storage=url) for url in (redis_server.url, other))

    async def run() -> list[int]:
        return [(await door.ask()).status for door in (one, two, one, two)]

    assert anyio.run(run) == [200, 200, 429, 429]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "status"), [({}, 503), ({"fail_open": True}, 200), ({"fail_open_paths": ["/"]}, 200)]
)
def test_a_store_that_is_gone(
    options: dict[str, Any], status: int, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door({"user": "3/hour"}, rate_storage="redis://:s3cr3t@127.0.0.1:1/0", **options)
    with caplog.at_level(logging.WARNING, "highflame_middleware"):
        assert door.asked({}, {}, {}, backend=backend) == [status] * 3
    warnings = [record for record in caplog.records if "cannot be counted" in record.message]
    assert len(warnings) == 1, "one for each outage"
    assert "s3cr3t" not in caplog.text


def test_a_store_that_only_fails_on_a_loop_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The asynchronous stores want newer packages than the others: no request is to find that out."""
    from limits.aio.storage import RedisStorage
    from packaging.version import Version

    monkeypatch.setitem(RedisStorage.DEPENDENCIES, "redis", Version("9999"))
    with pytest.raises(ConfigError, match="9999"):
        Rates({"user": "3/hour"}, storage="redis://:s3cr3t@127.0.0.1/0")


def test_nothing_of_a_caller_is_kept_in_the_store(redis_server: RedisServer) -> None:
    import redis

    door = Door({"user": "3/hour", "key": "3/hour", "address": "3/hour"}, rate_storage=redis_server.url)
    door.asked({"headers": [("x-highflame-user", "ada-lovelace"), ("authorization", "Bearer sk-verysecret")]})
    with redis.Redis.from_url(redis_server.url) as client:
        keys = b" ".join(client.keys("*"))
    assert keys
    for word in (b"ada", b"secret", b"192.0.2"):
        assert word not in keys
