"""Scripted models and tools, and agents made of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from pydantic import Field

from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import GuardRequest, Stage


class Scripted(BaseChatModel):
    """A chat model that answers by a script, streams in pieces of a few characters, and keeps what it was sent."""

    script: list[Any]
    sent: list[list[BaseMessage]] = Field(default_factory=list)
    given: list[dict[str, Any]] = Field(default_factory=list)
    piece: int = 3

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _next(self, messages: Sequence[BaseMessage], given: dict[str, Any]) -> AIMessage:
        at = len(self.sent)
        self.sent.append(list(messages))
        self.given.append(given)
        answer = self.script[min(at, len(self.script) - 1)]
        if isinstance(answer, Exception):
            raise answer
        return AIMessage(content=answer) if isinstance(answer, str) else answer.model_copy()

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, given))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._next(messages, given)
        for chunk in chunks_of(answer, self.piece):
            if run_manager:
                # As some providers' classes do: whoever listens hears each token.
                run_manager.on_llm_new_token(str(chunk.content), chunk=ChatGenerationChunk(message=chunk))
            yield ChatGenerationChunk(message=chunk)

    def bind_tools(self, tools: Any, **given: Any) -> Any:
        from langchain_core.utils.function_calling import convert_to_openai_tool

        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **given)


def chunks_of(answer: AIMessage, piece: int) -> Iterator[AIMessageChunk]:
    """A message in the pieces that a provider streams it in."""
    if isinstance(answer.content, str):
        for at in range(0, len(answer.content), piece):
            yield AIMessageChunk(content=answer.content[at : at + piece])
    else:
        for index, block in enumerate(answer.content):
            key = next((key for key in ("text", "reasoning", "thinking") if key in block), None)
            if key is None:
                yield AIMessageChunk(content=[{**block, "index": index}])
                continue
            for at in range(0, len(block[key]), piece):
                yield AIMessageChunk(content=[{**block, key: block[key][at : at + piece], "index": index}])
    for index, call in enumerate(answer.tool_calls):
        written = json.dumps(call["args"])
        for at in range(0, len(written), piece):
            first = at == 0
            yield AIMessageChunk(
                content="",
                tool_call_chunks=[
                    {
                        "name": call["name"] if first else None,
                        "args": written[at : at + piece],
                        "id": call["id"] if first else None,
                        "index": index,
                    }
                ],
            )


def calling(*calls: tuple[str, dict[str, Any]], text: str = "") -> AIMessage:
    """A reply that calls tools, with ids c0, c1…"""
    return AIMessage(
        content=text,
        tool_calls=[{"name": name, "args": args, "id": f"c{index}"} for index, (name, args) in enumerate(calls)],
    )


class Guard(FakeGuard):
    """A `FakeGuard` whose words count at one stage only, where it is told of one (``at``)."""

    def __init__(self, *, at: Stage | None = None, **words: Any) -> None:
        super().__init__(**words)
        self._at = at

    def evaluate(self, request: GuardRequest) -> Any:
        if self._at is not None and request.stage is not self._at:
            self.requests.append(request)
            from highflame_middleware import Decision, GuardResponse

            return GuardResponse(decision=Decision.ALLOW)
        return super().evaluate(request)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Stage and text of all that it was asked about."""
        return [(str(request.stage), request.content) for request in self.requests]


def tools(ran: list[Any], **results: Any) -> list[Any]:
    """Two tools, which note what they are run with."""

    @tool
    def look_up(key: str) -> str:
        """Look a key up."""
        ran.append(("look_up", key))
        result = results.get("look_up", f"value of {key}")
        if isinstance(result, Exception):
            raise result
        return result

    @tool
    def note(text: str) -> str:
        """Note a text."""
        ran.append(("note", text))
        return str(results.get("note", "noted"))

    return [look_up, note]


def agent_of(
    model: Any, guard: Any, ran: list[Any] | None = None, *, others: Sequence[Any] = (), **more: Any
) -> Any:
    """An agent with the middleware, after others; ``more`` goes to the one or the other."""
    from highflame_langgraph import HighflameAgentMiddleware

    own = {name: more.pop(name) for name in list(more) if name not in AGENT}
    results = own.pop("results", {})
    middleware = HighflameAgentMiddleware(guard=guard, gateway=None, **own)
    given = more.pop("tools", None)
    return create_agent(
        model,
        given if given is not None else tools(ran if ran is not None else [], **results),
        middleware=[*others, middleware],
        **more,
    )


AGENT = {"checkpointer", "system_prompt", "response_format", "tools", "name", "store"}


def said(result: Any) -> list[tuple[str, str]]:
    """Who said what."""
    return [(message.type, str(message.text)) for message in result["messages"]]


def ask(agent: Any, text: Any = "Hello", *, how: str = "invoke", **config: Any) -> Any:
    """Run an agent in either colour."""
    given = (
        {"messages": text if isinstance(text, list) else [("user", text)]} if not hasattr(text, "resume") else text
    )
    setting = {"configurable": config} if config else None
    if how == "invoke":
        return agent.invoke(given, setting)
    return asyncio.run(agent.ainvoke(given, setting))


COLOURS = ("invoke", "ainvoke")
