"""Every door that guards calls, and how a case is put through it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import openai

from highflame_middleware import Gateway, HighflameError, HighflameMiddleware, Settings, Shield, instrument
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


def middleware_socket(case: Case, server: Server) -> Seen:
    """A call in a frame, and its reply in another; refused in frames, which say why."""
    bodies: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            bodies.append(json.loads(message["text"]))
            scene = play(scripts_for(case.stage), Request(method="POST", path="/v1/chat/completions", body=b"{}"))
            reply = b"".join(frame for _, frame in scene.frames)
            await send({"type": "websocket.send", "text": reply.decode()})

    frames: list[Any] = []
    given = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": json.dumps(body_for(case.stage))},
        {"type": "websocket.disconnect", "code": 1000},
    ]

    async def receive() -> Any:
        return given.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            frames.append(json.loads(message["text"]))

    app = HighflameMiddleware(application, settings=Settings(**case.options), websocket_refusal="frame")
    scope = {"type": "websocket", "path": "/chat", "headers": [], "asgi": {"spec_version": "2.3"}}
    asyncio.run(app(scope, receive, send))
    if "error" in frames[-1]:
        named = {"guard_unavailable": "error", "blocked_modify": "deny"}
        code = frames[-1]["error"]["code"]
        return Seen("", named.get(code, code.removeprefix("blocked_")), len(bodies))
    message = frames[-1]["choices"][0]["message"]
    calls = message.get("tool_calls") or [{"function": {"arguments": ""}}]
    said = calls[0]["function"]["arguments"] if case.stage is Stage.TOOL_CALL else message["content"]
    return Seen(sent(bodies[-1], case.stage) if case.stage in INPUT else said, None, len(bodies))


# Bodies in no API's format: what is sent, by its type, and how the text is found in it again.
def _plain(content: bytes) -> str:
    return content.decode()


def _selected(content: bytes) -> str:
    return str(json.loads(content)["ask"]["for"])


def _form(content: bytes) -> str:
    return dict(parse_qsl(content.decode()))["prompt"]


def _multipart(content: bytes) -> str:
    return content.partition(b"\r\n\r\n")[2].partition(b"\r\n--b--")[0].decode()


def _bare(kind: str, write: Callable[[str], bytes], read: Callable[[bytes], str]) -> Callable[[Case, Server], Seen]:
    """A door for one text and a reply that is nothing but text, too."""

    def door(case: Case, server: Server) -> Seen:
        arrived: list[bytes] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            arrived.append((await receive())["body"])
            headers = [(b"content-type", kind.encode() if kind == "text/plain" else b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            reply = TEXT if case.stage is Stage.RESPONSE else "Done."
            body = reply if kind == "text/plain" else json.dumps({"answer": [reply]})
            await send({"type": "http.response.body", "body": body.encode()})

        async def main() -> httpx.Response:
            app = HighflameMiddleware(
                application, settings=Settings(**case.options), select={"/ask": ["ask.for", "prompt"]}
            )
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://door.invalid"
            ) as client:
                asked = write(TEXT if case.stage is Stage.PROMPT else "Go on.")
                return await client.post("/ask", content=asked, headers={"content-type": kind})

        reply = asyncio.run(main())
        if reply.status_code != 200:
            return Seen("", STATUS[reply.status_code], len(arrived))
        said = reply.text if kind == "text/plain" else reply.json()["answer"][0]
        return Seen(read(arrived[-1]) if case.stage in INPUT else said, None, len(arrived))

    return door


_PART = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n%b\r\n--b--\r\n'

# Decorated functions: a small agent, one of whose functions is guarded. A call upstream is one of the model.


class _Agent:
    """Asks a model, calls the tool that it names, gives it the result; one of these steps is guarded."""

    def __init__(self, case: Case) -> None:
        self.stage = case.stage
        self.shield = Shield(settings=Settings(**case.options))
        self.calls = 0
        self.got: list[str] = []  # where the text was to go

    @property
    def decorator(self) -> Callable[[Any], Any]:
        names = {Stage.PROMPT: "prompt", Stage.TOOL_CALL: "tool", Stage.TOOL_RESULT: "toolresponse"}
        return getattr(self.shield, names.get(self.stage, "modelresponse"))  # type: ignore[no-any-return]

    def act(self, note: str) -> str:
        """The function that is guarded: the model, but for the tool."""
        if self.stage in (Stage.PROMPT, Stage.RESPONSE):
            self.calls += 1
        if self.stage in (Stage.PROMPT, Stage.TOOL_CALL):
            self.got.append(note)
            return "Done."
        return TEXT

    def begin(self) -> None:
        """What goes before: a tool is called because a model has said so."""
        self.calls += self.stage is Stage.TOOL_CALL

    def end(self, *said: str) -> None:
        """What the function gave back has come: a result goes to the model."""
        if self.stage in (Stage.TOOL_RESULT, Stage.RESPONSE):
            self.got += said
            self.calls += self.stage is Stage.TOOL_RESULT

    def seen(self, run: Callable[[], None]) -> Seen:
        error: HighflameError | None = None
        self.begin()
        try:
            run()
        except HighflameError as caught:
            error = caught
        return Seen("".join(self.got), error, self.calls)


def decorated(case: Case, server: Server) -> Seen:
    agent = _Agent(case)

    @agent.decorator
    def act(note: str) -> str:
        return agent.act(note)

    return agent.seen(lambda: agent.end(act(TEXT)))


def decorated_async(case: Case, server: Server) -> Seen:
    agent = _Agent(case)

    @agent.decorator
    async def act(note: str) -> str:
        return agent.act(note)

    async def main() -> None:
        agent.end(await act(TEXT))

    return agent.seen(lambda: asyncio.run(main()))


def decorated_generator(case: Case, server: Server) -> Seen:
    agent = _Agent(case)

    @agent.decorator
    async def act(note: str) -> AsyncIterator[str]:
        said = agent.act(note)
        for at in range(0, len(said), 7):
            yield said[at : at + 7]

    async def main() -> None:
        agent.end(*[piece async for piece in act(TEXT)])

    return agent.seen(lambda: asyncio.run(main()))


DOORS: Mapping[str, Callable[[Case, Server], Seen]] = {
    "sdk": sdk,
    "sdk, async": sdk_async,
    "sdk, stream": sdk_stream,
    "sdk, async stream": sdk_async_stream,
    "gateway": gateway,
    "gateway, stream": gateway_stream,
    "middleware": middleware,
    "middleware, stream": middleware_stream,
    "decorator": decorated,
    "decorator, async": decorated_async,
    "decorator, async generator": decorated_generator,
    "middleware, websocket": middleware_socket,
    "middleware, text": _bare("text/plain", str.encode, _plain),
    "middleware, selected JSON": _bare(
        "application/json", lambda text: json.dumps({"ask": {"for": text}}).encode(), _selected
    ),
    "middleware, form": _bare(
        "application/x-www-form-urlencoded", lambda text: urlencode({"prompt": text}).encode(), _form
    ),
    "middleware, multipart": _bare(
        "multipart/form-data; boundary=b", lambda text: _PART % text.encode(), _multipart
    ),
}

# What the doors that know no tools have of the stages; the others have them all.
STAGES: Mapping[str, tuple[Stage, ...]] = {
    f"middleware, {name}": (Stage.PROMPT, Stage.RESPONSE) for name in ("text", "selected JSON", "form", "multipart")
}
