"""The ways of calling the Mistral SDK, once each."""

from __future__ import annotations

import inspect
import json
from typing import Any

try:
    from mistralai.client import Mistral
except ImportError:  # the first major version
    from mistralai import Mistral

from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen, chunk, scripted

__all__ = ["KIT"]

_MESSAGES: Any = [{"role": "user", "content": PROMPT}]


class _Async:
    """The asynchronous half of the client, whose methods have other names."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:
        resource = self._resource
        found = getattr(resource, f"{name}_async", None)
        return found if found is not None else _Async(getattr(resource, name))

    async def __aenter__(self) -> _Async:
        if hasattr(self._resource, "__aenter__"):
            await self._resource.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        if hasattr(self._resource, "__aexit__"):
            await self._resource.__aexit__(*exc)


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    client = Mistral(**{"api_key": "k", "server_url": url, **options})
    return _Async(client) if kind == "async" else client


def _chunks(events: list[Any]) -> str:
    return "".join(event.data.choices[0].delta.content or "" for event in events if event.data.choices)


def _spoken(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def _outputs(reply: Any) -> str:
    return str(reply.outputs[0].content)


CASES: dict[str, Case] = {
    "chat": Case(lambda c: c.chat.complete(model="m", messages=_MESSAGES), _spoken),
    "chat stream": Case(lambda c: c.chat.stream(model="m", messages=_MESSAGES), _chunks),
    "fim": Case(lambda c: c.fim.complete(model="m", prompt=PROMPT, suffix="end"), _spoken),
    "fim stream": Case(lambda c: c.fim.stream(model="m", prompt=PROMPT), _chunks),
    "agents": Case(lambda c: c.agents.complete(agent_id="a", messages=_MESSAGES), _spoken),
    "agents stream": Case(
        lambda c: c.agents.stream(agent_id="a", messages=_MESSAGES), _chunks, "beta.conversations.start"
    ),
    "embeddings": Case(lambda c: c.embeddings.create(model="m", inputs=[PROMPT])),
    "conversations": Case(
        lambda c: c.beta.conversations.start(model="m", inputs=PROMPT), _outputs, "beta.conversations.start"
    ),
    "conversations stream": Case(
        lambda c: c.beta.conversations.start_stream(model="m", inputs=PROMPT),
        lambda events: "".join(e.data.content for e in events if e.event == "message.output.delta"),
        "beta.conversations.start_stream",
    ),
    "models": Case(lambda c: c.models.list()),
}


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that has something to hide."""
    said = pieces or PIECES
    openai = scripted([{"chunks": said}])

    def respond(seen: Seen) -> Answer:
        path, body = seen.path.partition("?")[0], json.loads(seen.body or b"{}")
        if path.endswith("/models"):
            return _whole({"object": "list", "data": []})
        if path.endswith("/conversations"):
            return _conversation(said, streamed=body.get("stream") is True)
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "embedding": [0.5], "index": 0}]
            usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
            return _whole({"id": "e", "object": "list", "model": "m", "data": data, "usage": usage})
        if path.endswith(("/fim/completions", "/agents/completions")):
            return _completion(said, streamed=body.get("stream") is True)
        return openai(seen)

    return respond


def _completion(said: list[str], *, streamed: bool) -> Answer:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if streamed:
        events = [*(chunk(piece) for piece in said), chunk(finish="stop")]
        return Answer(
            200,
            (("content-type", "text/event-stream"),),
            [*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), b"data: [DONE]\n\n"],
        )
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(said)}, "finish_reason": "stop"}
    fields = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    return _whole({**fields, "choices": [choice]})


def _conversation(said: list[str], *, streamed: bool) -> Answer:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not streamed:
        output = {"type": "message.output", "role": "assistant", "content": "".join(said)}
        return _whole(
            {"object": "conversation.response", "conversation_id": "c", "outputs": [output], "usage": usage}
        )
    when = "2025-01-01T00:00:00Z"
    events: list[dict[str, Any]] = [{"type": "conversation.response.started", "conversation_id": "c"}]
    for piece in said:
        events.append(
            {
                "type": "message.output.delta",
                "created_at": when,
                "output_index": 0,
                "id": "m",
                "content_index": 0,
                "role": "assistant",
                "content": piece,
            }
        )
    events.append({"type": "conversation.response.done", "usage": usage})
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    return Answer(200, (("content-type", "text/event-stream"),), frames)


def _whole(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def finish(value: Any) -> Any:
    """Read a call's result to its end."""
    return list(value) if hasattr(value, "__next__") else value


async def afinish(value: Any) -> Any:
    """Read an asynchronous call's result to its end."""
    if inspect.isawaitable(value):
        value = await value
    return [item async for item in value] if hasattr(value, "__aiter__") else value


def _retrying() -> dict[str, Any]:
    try:
        from mistralai.client.utils import BackoffStrategy, RetryConfig
    except ImportError:
        from mistralai.utils import BackoffStrategy, RetryConfig
    return {"retry_config": RetryConfig("backoff", BackoffStrategy(1, 2, 1.0, 1000), True)}


def _closes() -> bool:
    try:
        from mistralai.utils import eventstreaming
    except ImportError:  # since the second major version
        return True
    return hasattr(eventstreaming, "EventStream")


KIT = Kit(
    sdk="mistralai",
    make=make,
    cases=CASES,
    speaking=speaking,
    retrying=_retrying(),
    finish=finish,
    afinish=afinish,
    # In its first versions a stream is a bare generator, which leaves the response to the collector.
    closing=_closes(),
)
