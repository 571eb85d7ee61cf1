"""Proof, on the installed versions, that a denial at each stage is enforced: made once in a process."""

from __future__ import annotations

from threading import RLock
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from highflame_middleware import (
    Decision,
    GuardRequest,
    GuardResponse,
    HighflameError,
    Settings,
    Stage,
    UnprovenError,
)

__all__ = ["prove_once", "self_test"]

_MARK = "highflame-self-test"
_lock = RLock()
_proven = False


def prove_once() -> None:
    """`self_test`, unless it has passed in this process."""
    global _proven
    with _lock:
        if not _proven:
            self_test()
            _proven = True


def self_test() -> None:
    """Run an agent with a guard that denies at each stage in turn, without a network and without a record.

    Raises `UnprovenError` where the installed LangChain and LangGraph would not let a denial count.

    >>> self_test()
    """
    from langsmith.run_helpers import tracing_context  # noqa: PLC0415 - a part of LangChain

    with tracing_context(enabled=False):
        for stage in Stage:
            try:
                _prove(stage)
            except HighflameError:
                raise
            except Exception as error:
                raise UnprovenError(_said(stage, f"the test broke off: {type(error).__name__}")) from error


def _prove(stage: Stage) -> None:
    from .middleware import HighflameAgentMiddleware  # noqa: PLC0415 - it proves itself by this module

    ran: list[str] = []
    model = _Scripted(stage=str(stage))

    @tool
    def probe(text: str) -> str:
        """Probe."""
        ran.append(text)
        return _MARK if stage is Stage.TOOL_RESULT else "done"

    middleware = HighflameAgentMiddleware(
        Settings(guard=_Denying(stage), gateway=None), self_test=False, quiet=True, step_up="deny"
    )
    agent = create_agent(model, [probe], middleware=[middleware])
    text = _MARK if stage is Stage.PROMPT else "go"
    given: Any = {"messages": [("user", text)]}
    seen: list[Any] = list(agent.stream(given, stream_mode=["messages", "updates", "values"]))
    last = [value for mode, value in seen if mode == "values"][-1]["messages"]
    if _MARK in "".join(str(message.content) for message in last) or _MARK in "".join(map(_said_in, seen[1:])):
        raise UnprovenError(_said(stage, "what was denied is in the stream"))
    if _MARK in repr(model.heard):
        raise UnprovenError(_said(stage, "what was denied was sent to the model"))
    if (stage is Stage.PROMPT and model.heard) or (stage is Stage.TOOL_CALL and ran):
        raise UnprovenError(_said(stage, "the run went on"))


class _Denying:
    """Denies the mark at one stage."""

    name = "self-test"
    local = True

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        denied = request.stage is self._stage and _MARK in request.content
        return GuardResponse(decision=Decision.DENY if denied else Decision.ALLOW)


class _Scripted(BaseChatModel):
    """Calls the tool, if that is what is tried, and says something."""

    stage: str
    heard: list[Any] = []  # noqa: RUF012 - pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "highflame-self-test"

    def _answer(self, messages: Any) -> AIMessage:
        self.heard.append([message.model_dump() for message in messages])
        if len(self.heard) > 1 or self.stage in ("prompt", "response"):
            return AIMessage(_MARK if self.stage == "response" else "done")
        text = _MARK if self.stage == "tool_call" else "go"
        return AIMessage("", tool_calls=[{"name": "probe", "args": {"text": text}, "id": "c1"}])

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> ChatResult:  # noqa: ARG002
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:  # noqa: ARG002
        from langchain_core.messages import AIMessageChunk  # noqa: PLC0415

        answer = self._answer(messages)
        calls: list[Any] = [
            {"name": call["name"], "args": '{"text": "' + call["args"]["text"] + '"}', "id": call["id"], "index": 0}
            for call in answer.tool_calls
        ]
        yield ChatGenerationChunk(message=AIMessageChunk(content=answer.content, tool_call_chunks=calls))

    def bind_tools(self, tools: Any, **given: Any) -> Any:  # noqa: ARG002
        return self


def _said_in(event: Any) -> str:
    mode, value = event
    return repr(value) if mode != "values" else ""


def _said(stage: Stage, why: str) -> str:
    from importlib.metadata import version  # noqa: PLC0415 - for a message

    versions = f"langchain {version('langchain')}, langgraph {version('langgraph')}"
    return f"the guard could not be shown to be enforced at the {stage.label} stage on {versions}: {why}"
