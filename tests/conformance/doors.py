"""Every door that guards calls, and how a case is put through it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from highflame_middleware import Gateway, HighflameError, HighflameMiddleware, Settings, instrument
from highflame_middleware.gateway.messages import Request
from highflame_middleware.gateway.scripted import play
from highflame_middleware.testing import ScriptedProvider
from highflame_middleware.types import Stage
from tests.conformance.cases import TEXT, Case, arguments
from tests.servers import Server, scripted

INPUT = (Stage.PROMPT, Stage.TOOL_RESULT)
STATUS = {403: "deny", 401: "step_up", 425: "defer", 503: "error"}


@dataclass(frozen=True)
class Seen:
    """What came of it: the text that arrived where it was to go, and why it was stopped, if it was."""

    text: str = ""
    stopped: HighflameError | str | None = None
    upstream: int = 0


def body_for(stage: Stage) -> dict[str, Any]:
    """A call in the chat format whose only text worth a word stands at the stage, or in the reply."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": TEXT if stage is Stage.PROMPT else "Go on."}]
    if stage is Stage.TOOL_RESULT:
        call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": TEXT},
        ]
    return {"model": "m", "messages": messages}


def scripts_for(stage: Stage) -> list[dict[str, Any]]:
    if stage is Stage.TOOL_CALL:
        return [{"tool_calls": [{"name": "note", "arguments": json.loads(arguments())}]}]
    return [{"text": TEXT if stage is Stage.RESPONSE else "Done."}]


def sent(body: Any, stage: Stage) -> str:
    return str(body["messages"][-1]["content"])


def _said(message: Any, stage: Stage) -> str:
    if stage is Stage.TOOL_CALL:
        return str(message.tool_calls[0].function.arguments) if message.tool_calls else ""
    return message.content or ""


def _piece(chunk: Any, stage: Stage) -> str:
    delta = chunk.choices[0].delta if chunk.choices else None
    if delta is None:
        return ""
    if stage is Stage.TOOL_CALL:
        return "".join(call.function.arguments or "" for call in delta.tool_calls or ())
    return delta.content or ""


# The SDK, instrumented: existing code, four ways of calling it.


def _sdk(case: Case, server: Server, call: Callable[[Any, list[str]], None]) -> Seen:
    server.log.clear()
    server.respond = scripted(scripts_for(case.stage))
    got: list[str] = []
    error: HighflameError | None = None
    with instrument(settings=Settings(**case.options)):
        try:
            call(server, got)
        except HighflameError as caught:
            error = caught
    arrived = sent(server.log[-1].json, case.stage) if case.stage in INPUT and server.log else ""
    return Seen(arrived if case.stage in INPUT else "".join(got), error, len(server.log))


def _client(server: Server, make: Any) -> Any:
    return make(api_key="k", base_url=f"{server.url}/v1", max_retries=0)


def sdk(case: Case, server: Server) -> Seen:
    def call(server: Server, got: list[str]) -> None:
        with _client(server, openai.OpenAI) as client:
            reply = client.chat.completions.create(**body_for(case.stage))
            got.append(_said(reply.choices[0].message, case.stage))

    return _sdk(case, server, call)


def sdk_async(case: Case, server: Server) -> Seen:
    async def main(server: Server, got: list[str]) -> None:
        async with _client(server, openai.AsyncOpenAI) as client:
            reply = await client.chat.completions.create(**body_for(case.stage))
            got.append(_said(reply.choices[0].message, case.stage))

    return _sdk(case, server, lambda server, got: asyncio.run(main(server, got)))


def sdk_stream(case: Case, server: Server) -> Seen:
    def call(server: Server, got: list[str]) -> None:
        with _client(server, openai.OpenAI) as client:
            for chunk in client.chat.completions.create(**body_for(case.stage), stream=True):
                got.append(_piece(chunk, case.stage))

    return _sdk(case, server, call)


def sdk_async_stream(case: Case, server: Server) -> Seen:
    async def main(server: Server, got: list[str]) -> None:
        async with _client(server, openai.AsyncOpenAI) as client:
            async for chunk in await client.chat.completions.create(**body_for(case.stage), stream=True):
                got.append(_piece(chunk, case.stage))

    return _sdk(case, server, lambda server, got: asyncio.run(main(server, got)))


# HTTP doors: the gateway as an ASGI app, and the middleware before an application that speaks the format.


def _over_http(app: Any, case: Case, *, stream: bool) -> tuple[str, str | None]:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://door.invalid") as client:
            return await client.post("/v1/chat/completions", json={**body_for(case.stage), "stream": stream})

    reply = asyncio.run(main())
    if reply.status_code != 200:
        return "", STATUS[reply.status_code]
    if not stream:
        message = reply.json()["choices"][0]["message"]
        calls = message.get("tool_calls") or [{"function": {"arguments": ""}}]
        return (calls[0]["function"]["arguments"] if case.stage is Stage.TOOL_CALL else message["content"]), None
    got, stopped = "", None
    for line in reply.text.splitlines():
        data = line.removeprefix("data: ")
        if not line.startswith("data: ") or data == "[DONE]":
            continue
        event = json.loads(data)
        if "error" in event:
            stopped = "an error event"
            continue
        for choice in event["choices"]:
            delta = choice["delta"]
            pieces = [call["function"].get("arguments", "") for call in delta.get("tool_calls", ())]
            got += "".join(pieces) if case.stage is Stage.TOOL_CALL else delta.get("content") or ""
    return got, stopped


def _gateway(case: Case, *, stream: bool) -> Seen:
    provider = ScriptedProvider(scripts_for(case.stage))
    with provider.serve() as url:
        app = Gateway(providers={"only": {"base_url": url, "api_key": "k"}}, **case.options)
        text, stopped = _over_http(app, case, stream=stream)
    arrived = sent(provider.requests[-1], case.stage) if case.stage in INPUT and provider.requests else ""
    return Seen(arrived if case.stage in INPUT else text, stopped, len(provider.requests))


def gateway(case: Case, server: Server) -> Seen:
    return _gateway(case, stream=False)


def gateway_stream(case: Case, server: Server) -> Seen:
    return _gateway(case, stream=True)


class _Application:
    """An application that answers chat calls as its script says, and keeps what it was asked."""

    def __init__(self, stage: Stage) -> None:
        self._scripts = scripts_for(stage)
        self.bodies: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(json.loads(body))
        scene = play(self._scripts, Request(method="POST", path=scope["path"], body=body))
        headers = [(name.encode(), value.encode()) for name, value in scene.headers]
        await send({"type": "http.response.start", "status": scene.status, "headers": headers})
        for _, frame in scene.frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _middleware(case: Case, *, stream: bool) -> Seen:
    application = _Application(case.stage)
    app = HighflameMiddleware(application, settings=Settings(**case.options))
    text, stopped = _over_http(app, case, stream=stream)
    arrived = sent(application.bodies[-1], case.stage) if case.stage in INPUT and application.bodies else ""
    return Seen(arrived if case.stage in INPUT else text, stopped, len(application.bodies))


def middleware(case: Case, server: Server) -> Seen:
    return _middleware(case, stream=False)


def middleware_stream(case: Case, server: Server) -> Seen:
    return _middleware(case, stream=True)


DOORS: Mapping[str, Callable[[Case, Server], Seen]] = {
    "sdk": sdk,
    "sdk, async": sdk_async,
    "sdk, stream": sdk_stream,
    "sdk, async stream": sdk_async_stream,
    "gateway": gateway,
    "gateway, stream": gateway_stream,
    "middleware": middleware,
    "middleware, stream": middleware_stream,
}
