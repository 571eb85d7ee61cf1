"""SDKs whose calls a gateway may be asked in another format: how each tells a conversation, and what it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.genai import types

from highflame_middleware.translation import load_translator
from tests.instrumentation.kits import Kit, anthropic, bedrock, google, held, openai
from tests.servers import Server
from tests.translation.hearing import Heard, collect, hear_reply

__all__ = ["SPEAKERS", "Speaker"]

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ARGUMENTS = [{"city": "Bern"}, {"city": "Rome"}]
_RESULTS = ["Rain. The SECRET is 7.", "Sun."]
MODEL = "m-1"


@dataclass(frozen=True)
class Speaker:
    """One SDK. ``ask`` makes the call, streamed or not.

    ``body`` has a reply as JSON, ``event`` one of its ``events`` and its name; ``errors`` are raised for
    these statuses, of which ``told`` is what the API calls them.
    """

    format: str
    kit: Kit
    ask: Callable[[Any, bool], Any]
    body: Callable[[Any], Any]
    event: Callable[[Any], tuple[str | None, Any]]
    errors: Mapping[int, type[Exception]]
    told: Callable[[Any], str]
    events: Callable[[Any], Any] = lambda reply: reply

    def perform(self, kind: str, server: Server, *, stream: bool = False, **options: Any) -> Any:
        """Make the call and read its reply to the end."""
        kit = self.kit
        if kind == "sync":
            with held(kit.make(kind, server.url, **options)) as client:
                return kit.finish(self.ask(_inner(client), stream))

        async def call() -> Any:
            made = kit.make(kind, server.url, **options)
            if not hasattr(made, "__aenter__"):
                return await kit.afinish(self.ask(made, stream))
            async with made as client:
                return await kit.afinish(self.ask(_inner(client), stream))

        return asyncio.run(call())

    def hear(self, reply: Any, *, stream: bool) -> Heard:
        """What a reply says."""
        translator = load_translator(self.format)
        if not stream:
            return hear_reply(translator.read_reply(self.body(reply)))
        reader = translator.read_stream()
        deltas = []
        for item in self.events(reply):
            name, data = self.event(item)
            deltas += reader.read(data, name)
        return hear_reply(collect([*deltas, *reader.finish()]))


def _inner(client: Any) -> Any:
    return getattr(client, "runtime", client)


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True)


# -- anthropic

_CLAUDES: Any = [
    {"role": "user", "content": "Weather? My SECRET is 1."},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "call_0", "name": "weather", "input": _ARGUMENTS[0]},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": _ARGUMENTS[1]},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": f"call_{index}", "content": result}
            for index, result in enumerate(_RESULTS)
        ],
    },
]


def _ask_claude(client: Any, stream: bool) -> Any:
    return client.messages.create(
        model=MODEL,
        max_tokens=64,
        system="Be brief.",
        messages=_CLAUDES,
        tools=[{"name": "weather", "description": "Tells the weather", "input_schema": _SCHEMA}],
        stream=stream,
    )


# -- google

_GEMINIS = [
    types.Content(role="user", parts=[types.Part(text="Weather? My SECRET is 1.")]),
    types.Content(
        role="model",
        parts=[
            types.Part(text="Let me see."),
            *(
                types.Part(function_call=types.FunctionCall(name="weather", args=arguments))
                for arguments in _ARGUMENTS
            ),
        ],
    ),
    types.Content(
        role="user",
        parts=[
            types.Part(function_response=types.FunctionResponse(name="weather", response={"output": result}))
            for result in _RESULTS
        ],
    ),
]


def _ask_gemini(client: Any, stream: bool) -> Any:
    tool = types.FunctionDeclaration(
        name="weather",
        description="Tells the weather",
        parameters={"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
    )
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        max_output_tokens=64,
        top_k=3,
        tools=[types.Tool(function_declarations=[tool])],
    )
    ask = client.models.generate_content_stream if stream else client.models.generate_content
    return ask(model=MODEL, contents=_GEMINIS, config=config)


# -- bedrock

_CONVERSED: Any = [
    {"role": "user", "content": [{"text": "Weather? My SECRET is 1."}]},
    {
        "role": "assistant",
        "content": [
            {"text": "Let me see."},
            *(
                {"toolUse": {"toolUseId": f"call_{index}", "name": "weather", "input": arguments}}
                for index, arguments in enumerate(_ARGUMENTS)
            ),
        ],
    },
    {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": f"call_{index}", "content": [{"text": result}]}}
            for index, result in enumerate(_RESULTS)
        ],
    },
]


def _ask_bedrock(client: Any, stream: bool) -> Any:
    spec = {"name": "weather", "description": "Tells the weather", "inputSchema": {"json": _SCHEMA}}
    return (client.converse_stream if stream else client.converse)(
        modelId=MODEL,
        system=[{"text": "Be brief."}],
        messages=_CONVERSED,
        inferenceConfig={"maxTokens": 64},
        toolConfig={"tools": [{"toolSpec": spec}]},
    )


def _of_bedrock(reply: Any) -> Any:
    return {name: value for name, value in reply.items() if name != "ResponseMetadata"}


# -- openai responses

_RESPONDED: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather? My SECRET is 1."},
    {"role": "assistant", "content": "Let me see."},
    *(
        {"type": "function_call", "call_id": f"call_{index}", "name": "weather", "arguments": json.dumps(arguments)}
        for index, arguments in enumerate(_ARGUMENTS)
    ),
    *(
        {"type": "function_call_output", "call_id": f"call_{index}", "output": result}
        for index, result in enumerate(_RESULTS)
    ),
]


def _ask_responses(client: Any, stream: bool) -> Any:
    return client.responses.create(
        model=MODEL,
        input=_RESPONDED,
        max_output_tokens=64,
        store=False,
        tools=[
            {
                "type": "function",
                "name": "weather",
                "description": "Tells the weather",
                "parameters": _SCHEMA,
                "strict": False,
            }
        ],
        stream=stream,
    )


def _errors() -> dict[str, dict[int, type[Exception]]]:
    import anthropic as claude
    import botocore.exceptions as aws
    import openai as gpt
    from google.genai import errors as gemini

    return {
        "anthropic-messages": {
            400: claude.BadRequestError,
            429: claude.RateLimitError,
            502: claude.InternalServerError,
        },
        "openai-responses": {400: gpt.BadRequestError, 429: gpt.RateLimitError, 502: gpt.InternalServerError},
        "gemini": {400: gemini.ClientError, 429: gemini.ClientError, 502: gemini.ServerError},
        "bedrock-converse": {400: aws.ClientError, 429: aws.ClientError, 502: aws.ClientError},
    }


_ERRORS = _errors()

SPEAKERS = {
    speaker.format: speaker
    for speaker in (
        Speaker(
            format="anthropic-messages",
            kit=anthropic.KIT,
            ask=_ask_claude,
            body=_dump,
            event=lambda event: (event.type, _dump(event)),
            errors=_ERRORS["anthropic-messages"],
            told=lambda error: error.body["error"]["type"],
        ),
        Speaker(
            format="gemini",
            kit=google.KIT,
            ask=_ask_gemini,
            body=lambda reply: reply.model_dump(mode="json", by_alias=True, exclude_none=True),
            event=lambda chunk: (None, chunk.model_dump(mode="json", by_alias=True, exclude_none=True)),
            errors=_ERRORS["gemini"],
            told=lambda error: error.status,
        ),
        Speaker(
            format="bedrock-converse",
            kit=bedrock.KIT,
            ask=_ask_bedrock,
            body=_of_bedrock,
            event=lambda event: next(iter(event.items())),
            errors=_ERRORS["bedrock-converse"],
            told=lambda error: error.response["Error"]["Code"],
            events=lambda reply: reply["stream"],
        ),
        Speaker(
            format="openai-responses",
            kit=openai.KIT,
            ask=_ask_responses,
            body=_dump,
            event=lambda event: (event.type, _dump(event)),
            errors=_ERRORS["openai-responses"],
            told=lambda error: error.code,
        ),
    )
}
