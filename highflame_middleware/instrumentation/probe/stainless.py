"""Proving the seams of the SDKs built like OpenAI's: real clients on a transport that answers without sending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from .library import library_of, silent_client
from .witness import Cases, Witness

__all__ = ["CASES"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """How an SDK is asked for a few words, how the words are read, and the provider's answers."""

    ask: Callable[..., Any]
    whole: Callable[[Any], str]
    piece: Callable[[Any], str]
    reply: bytes
    stream: bytes


_MESSAGES: Any = [{"role": "user", "content": "a prompt"}]
_CHAT = _Format(
    ask=lambda client, **options: client.chat.completions.create(model="probe", messages=_MESSAGES, **options),
    whole=lambda reply: reply.choices[0].message.content,
    piece=lambda chunk: (chunk.choices[0].delta.content or "") if chunk.choices else "",
    reply=b'{"id":"p","object":"chat.completion","created":1,"model":"probe","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"unguarded"},"finish_reason":"stop"}]}',
    stream=b'data: {"id":"p","object":"chat.completion.chunk","created":1,"model":"probe","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"unguarded"},"finish_reason":null}]}\n\ndata: {"id":"p","object":'
    b'"chat.completion.chunk","created":1,"model":"probe","choices":[{"index":0,"delta":{},"finish_reason":'
    b'"stop"}]}\n\ndata: [DONE]\n\n',
)

_ANTHROPIC = _Format(
    ask=lambda client, **options: client.messages.create(
        model="probe", max_tokens=1, messages=_MESSAGES, **options
    ),
    whole=lambda reply: reply.content[0].text,
    piece=lambda event: event.delta.text if event.type == "content_block_delta" else "",
    reply=b'{"id":"p","type":"message","role":"assistant","model":"probe","content":[{"type":"text","text":'
    b'"unguarded"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}',
    stream=b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"unguarded"}}\n\nevent: content_block_stop\ndata: '
    b'{"type":"content_block_stop","index":0}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


def _stainless(package: str, name: str, base_url: str, format: _Format) -> Cases:  # noqa: A002
    """The four ways of calling an SDK built like OpenAI's."""

    def client(witness: Witness, *, asynchronous: bool) -> Any:
        module = import_module(package)

        def answer(body: bytes, path: str) -> tuple[str, bytes]:  # noqa: ARG001
            if b'"stream":true' in body.replace(b" ", b""):
                return "text/event-stream", format.stream
            return "application/json", format.reply

        library = library_of(getattr(module, "DefaultAsyncHttpxClient" if asynchronous else "DefaultHttpxClient"))
        http_client = silent_client(library, witness, answer, asynchronous=asynchronous)
        make = getattr(module, f"Async{name}" if asynchronous else name)
        return make(api_key="probe", base_url=base_url, http_client=http_client, max_retries=0)

    def blocking(witness: Witness) -> str:
        with client(witness, asynchronous=False) as made:
            return format.whole(format.ask(made))

    def streamed(witness: Witness) -> str:
        with client(witness, asynchronous=False) as made:
            return "".join(format.piece(item) for item in format.ask(made, stream=True))

    async def awaited(witness: Witness) -> str:
        async with client(witness, asynchronous=True) as made:
            return format.whole(await format.ask(made))

    async def streamed_awaited(witness: Witness) -> str:
        async with client(witness, asynchronous=True) as made:
            return "".join([format.piece(item) async for item in await format.ask(made, stream=True)])

    return MappingProxyType(
        {
            "blocking": blocking,
            "blocking stream": streamed,
            "async": lambda witness: asyncio.run(awaited(witness)),
            "async stream": lambda witness: asyncio.run(streamed_awaited(witness)),
        }
    )


CASES: Mapping[str, Cases] = MappingProxyType(
    {
        "anthropic": _stainless("anthropic", "Anthropic", "https://api.anthropic.com", _ANTHROPIC),
        "groq": _stainless("groq", "Groq", "https://api.groq.com", _CHAT),
        "openai": _stainless("openai", "OpenAI", "https://api.openai.com/v1", _CHAT),
        "together": _stainless("together", "Together", "https://api.together.ai/v1", _CHAT),
    }
)
