"""An application's life: it passes through, and what was opened for its requests is closed at its end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import anyio
import pytest

from highflame_middleware import HighflameMiddleware
from highflame_middleware.asgi.lifespan import outlived
from highflame_middleware.identity import Authenticator, Introspection, Proofs, RedisProofs, TokenVerifier
from highflame_middleware.testing.authority import Authority, Holder
from tests.gateway_kit import BACKENDS, scope_of, serve
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]

LIFE = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["begun"] = True
        for what in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{what}"
            await send({"type": f"lifespan.{what}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class Life:
    """A middleware as a server has it: its application's life, and requests meanwhile."""

    def __init__(self, url: str, application: Any = app) -> None:
        self.url, self.told, self.open = url, [], []
        self.guarded: Any = HighflameMiddleware(
            application, guard=None, rate_limits={"address": "9/hour"}, rate_storage=url
        )

    async def run(self, *, statuses: list[int], before: Any = None) -> None:
        begin, end = anyio.Event(), anyio.Event()
        asked = iter([("startup", begin), ("shutdown", end)])
        begin.set()

        async def receive() -> Any:
            what, event = next(asked)
            await event.wait()
            return {"type": f"lifespan.{what}"}

        async def send(message: Any) -> None:
            self.told.append(message["type"])
            if message["type"] == "lifespan.shutdown.complete":
                # From here on a server may end its loop.
                self.open.append(self.connections())

        async with anyio.create_task_group() as group:
            group.start_soon(self.guarded, {**LIFE, "state": {}}, receive, send)
            for status in statuses:
                assert (await serve(self.guarded, scope_of(json_body=False))).status == status
            self.open.append(self.connections())
            if before is not None:
                before()
            end.set()
        self.open.append(self.connections())

    def connections(self) -> int | None:
        """How many there are to the store, but for the one that asks."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            try:
                return len(client.client_list()) - 1
            except redis.ConnectionError:
                return None


@pytest.mark.parametrize("backend", BACKENDS)
def test_connections_are_closed_before_the_server_is_told_of_the_end(
    redis_server: RedisServer, backend: str
) -> None:
    life = Life(redis_server.url)
    for _ in range(2):
        # Where it lives again, they are opened again.
        anyio.run(lambda: life.run(statuses=[200, 200]), backend=backend)
    assert life.told == ["lifespan.startup.complete", "lifespan.shutdown.complete"] * 2
    assert life.open == [1, 0, 0] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_request_after_the_end_is_still_counted(redis_server: RedisServer, backend: str) -> None:
    life = Life(redis_server.url)

    async def main() -> None:
        await life.run(statuses=[200] * 8)
        statuses = [(await serve(life.guarded, scope_of(json_body=False))).status for _ in range(2)]
        assert statuses == [200, 429]
        await life.guarded._rates.aclose()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_that_has_gone_keeps_nobody_from_ending(redis_server: RedisServer, backend: str) -> None:
    life = Life(redis_server.url)
    anyio.run(lambda: life.run(statuses=[200], before=redis_server.stop), backend=backend)
    assert life.told[-1] == "lifespan.shutdown.complete"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_authenticators_connections_are_closed_too(redis_server: RedisServer, backend: str) -> None:
    """Those to an authority that is asked about each token, and those to where used proofs are kept."""
    authority, holder = Authority(clients={"api": "s3cret"}), Holder()
    with authority.serve() as issuer:
        asked = Introspection(f"{issuer}/oauth2/token/introspect", client_id="api", client_secret="s3cret")
        verifier = TokenVerifier(issuer=issuer, resource="https://api.test", revocation=asked)
        proofs = Proofs(replays=RedisProofs(redis_server.url))
        life = Life(redis_server.url)
        door = HighflameMiddleware(app, guard=None, authenticator=Authenticator(verifier, proofs=proofs))
        token = authority.issue(authority.register("a"), resource="https://api.test", jkt=holder.jkt)

        async def main() -> None:
            proof = holder.proof(token, "POST", "https://api.test/")
            headers = [("authorization", f"DPoP {token}"), ("dpop", proof), ("host", "api.test")]
            scope = scope_of(headers=headers, scheme="https")
            assert [(await serve(door, scope)).status for _ in range(2)] == [200, 401]
            assert life.connections() == 1
            client = verifier._transport._per_loop.get()  # type: ignore[union-attr]
            with pytest.raises(ZeroDivisionError):
                await outlived(_broken, LIFE, None, None, door._aclose)  # type: ignore[arg-type]
            assert (client.is_closed, life.connections()) == (True, 0)

        anyio.run(main, backend=backend)


async def _broken(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


def test_an_application_that_has_no_life_says_so(redis_server: RedisServer) -> None:
    """Servers go on without then: it is its own error that they see."""

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    life = Life(redis_server.url, plain)

    async def main() -> None:
        with pytest.raises(AssertionError):
            await life.guarded({**LIFE}, None, None)
        assert (await serve(life.guarded, scope_of(json_body=False))).status == 200
        await life.guarded._rates.aclose()

    anyio.run(main)
    assert life.connections() == 0


def test_nothing_is_left_open_under_a_server(redis_server: RedisServer) -> None:
    program = f"""
        import asyncio, gc, httpx, socket, uvicorn
        from highflame_middleware import HighflameMiddleware
        from tests.asgi.test_lifespan import app

        async def main():
            guarded = HighflameMiddleware(
                app, guard=None, rate_limits={{"address": "2/hour"}}, rate_storage={redis_server.url!r}
            )
            listener = socket.create_server(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(guarded, lifespan="on", log_level="error"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with httpx.AsyncClient() as client:
                url = f"http://127.0.0.1:{{listener.getsockname()[1]}}"
                print([(await client.get(url)).status_code for _ in range(3)])
            server.should_exit = True
            await serving
            listener.close()

        asyncio.run(main())
        gc.collect()
    """
    found = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("[200, 200, 429]\n", "", 0)
