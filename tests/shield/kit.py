"""A Shield and its token endpoint on 127.0.0.1, scripted answer by answer; one way of asking, in three colours."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from highflame_middleware import Highflame
from tests.servers import Answer, Respond, Seen, Server, json_answer, running

COLOURS = ("blocking", "asyncio", "trio")
ALLOW = {
    "decision": "allow",
    "latency_ms": 1,
    "request_id": "r",
    "signals": [],
    "timestamp": "2026-01-01T00:00:00Z",
}
KEY = "zid_sk_the-very-secret-key"
TOKEN_PATH = "/oauth2/token"


class ScriptedShield:
    """Answers in turn what it was given, the last answer again and again; tokens are ``token-1``, ``token-2``…"""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url
        self.token_url = server.url + TOKEN_PATH
        self.answers: list[Respond] = [json_answer(ALLOW)]
        self.tokens: list[Respond] = []
        self.life: Any = 3600
        self._lock = threading.Lock()
        self._given = 0
        server.respond = self._respond

    @property
    def asked(self) -> list[Seen]:
        return [seen for seen in self.server.log if seen.path != TOKEN_PATH]

    @property
    def exchanges(self) -> list[Seen]:
        return [seen for seen in self.server.log if seen.path == TOKEN_PATH]

    def client(self, **options: Any) -> Highflame:
        given = {"api_key": KEY, "base_url": self.url, "token_url": self.token_url, **options}
        return Highflame(**given)

    def _respond(self, seen: Seen) -> Answer:
        with self._lock:
            queue = self.tokens if seen.path == TOKEN_PATH else self.answers
            respond = (queue.pop(0) if len(queue) > 1 else queue[0]) if queue else self._token
        return respond(seen)

    def _token(self, seen: Seen) -> Answer:
        with self._lock:
            self._given += 1
            count = self._given
        return json_answer(token(f"token-{count}", self.life))(seen)


def token(name: str, life: Any = 3600) -> dict[str, Any]:
    return {
        "access_token": name,
        "expires_in": life,
        "token_type": "Bearer",
        "account_id": "acc",
        "project_id": "pro",
    }


def jwt(**claims: Any) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))


def problem(status: int, **fields: Any) -> Respond:
    return json_answer({"title": "Fault", "status": status, "detail": "injected", **fields}, status)


def slow(seconds: float, answer: Respond) -> Respond:
    def respond(seen: Seen) -> Answer:
        threading.Event().wait(seconds)
        return answer(seen)

    return respond


def html(status: int) -> Respond:
    body = b"<html>oops</html>"
    return lambda seen: Answer(status, (("content-type", "text/html"),), [body], length=len(body))


@contextmanager
def shield() -> Iterator[ScriptedShield]:
    with running() as server:
        yield ScriptedShield(server)


def call(colour: str, client: Highflame, name: str, *args: Any, **given: Any) -> Any:
    """Ask a client (``guard.evaluate`` say), in one colour; asynchronous callers close it, as its loop ends."""
    resource, _, method = name.partition(".")
    if colour == "blocking":
        return getattr(getattr(client, resource), method)(*args, **given)

    async def main() -> Any:
        try:
            return await getattr(getattr(client, resource), f"a{method}")(*args, **given)
        finally:
            await client.aclose()

    return run_in(colour, main)


def run_in(colour: str, main: Callable[[], Any]) -> Any:
    return asyncio.run(main()) if colour == "asyncio" else trio.run(main)
