"""Calls of tools and their results, wherever a tool node runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_messages
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, Overwrite

from highflame_middleware import CallContext, ConfigError, HighflameError, Settings, Stage
from highflame_middleware.activities import Activity
from highflame_middleware.checkpoint import (
    Checkpoint,
    Flow,
    Invoke,
    Ruling,
    StepUp,
    Text,
    digest_of,
    rendered,
    text_at,
)

from .approval import Approver, Said, approver_of, asked, awaitable
from .blocked import bubbling
from .doors import checkpoint_of
from .saying import placeholder, tool_refusal
from .texts import judged, remember, ruled
from .together import Together, calls_beside
from .who import caller_of

__all__ = ["ToolGuard", "guard_tool_node"]

# Approvals that were given before the tool is run, by the id of the call.
APPROVED = "highflame_approved"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was said of a call, by the guard and by whoever was asked about it."""

    text: Text
    ruling: Ruling
    said: Said | None


class ToolGuard:
    """Judges a call of a tool before it is run, once, and what it gives back before anybody has it.

    ``raises`` has what is stopped raised; else it becomes the call's own error message, and the run goes on.
    """

    def __init__(self, checkpoint: Checkpoint, *, raises: bool, step_up: Approver) -> None:
        self.checkpoint, self.raises, self.step_up = checkpoint, raises, step_up
        self._together: Together[list[_Verdict]] = Together()

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """For `ToolNode(wrap_tool_call=…)`."""
        return self.checkpoint.run(self.flow(request, handler, blocking=True))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """For `ToolNode(awrap_tool_call=…)`."""
        return await self.checkpoint.arun(awaitable(self.flow(request, handler, blocking=False)))

    def flow(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], *, blocking: bool
    ) -> Flow[Any]:
        """One call."""
        call = request.tool_call
        caller = caller_of(request.runtime.config)
        stopped, request = yield from self._admitted(request, caller, blocking=blocking)
        if stopped is not None:
            return stopped
        about: dict[str, Any] = {"gen_ai.tool.call.id": call["id"], "gen_ai.tool.type": "function"}
        with Activity("execute_tool", call["name"], caller=caller, quiet=self.checkpoint.quiet, **about):
            result = yield from Invoke(partial(handler, request))
            return (yield from self._result(result, call, caller, _descriptions(request)))

    def _admitted(
        self, request: ToolCallRequest, caller: CallContext, *, blocking: bool
    ) -> Flow[tuple[ToolMessage | None, ToolCallRequest]]:
        """The call as it may be made, or the answer in its place."""
        call = request.tool_call
        approved = _approved(request.state)
        if _is_approved(call, approved):
            return None, request
        calls = [one for one in calls_beside(request) if not _is_approved(one, approved)]
        verdicts = yield from self._together.once(
            request, calls, partial(self._verdicts, request, calls, caller), blocking=blocking
        )
        at = next((index for index, one in enumerate(calls) if one is call), None)
        verdict = verdicts[at if at is not None else calls.index(call)]
        if verdict.said is not None:
            if verdict.said.approved:
                return None, request
            if verdict.said.message is not None:
                return tool_refusal(call, None, said=verdict.said.message), request
        strict = self.checkpoint.policy.mode.blocks
        one = ruled(_carrier(call), [verdict.text], [verdict.ruling], strict=strict)
        if (error := one.calls[0].error) is not None:
            return self._stopped(call, error, caller), request
        if one.edited:
            request = request.override(tool_call={**call, "args": one.message.tool_calls[0]["args"]})
        return None, request

    def _verdicts(
        self, request: ToolCallRequest, calls: Sequence[Mapping[str, Any]], caller: CallContext
    ) -> Flow[list[_Verdict]]:
        """What is to become of some calls: judged, and asked about, all at once."""
        texts = [
            text_at(Stage.TOOL_CALL, rendered(one["args"]), tool=one["name"], is_json=True)._replace(
                path=("calls", 0)
            )
            for one in calls
        ]
        rulings = yield from self.checkpoint.judging(
            texts, caller=caller, descriptions=_descriptions(request), once=True
        )
        steps = [StepUp.of(ruling, one["name"], one["args"]) for ruling, one in zip(rulings, calls, strict=True)]
        waiting = [step for step in steps if step is not None]
        answers = iter((yield from asked(self.step_up, waiting, request.runtime.config)) if waiting else ())
        return [
            _Verdict(text, ruling, next(answers) if step is not None else None)
            for text, ruling, step in zip(texts, rulings, steps, strict=True)
        ]

    def _result(
        self, result: Any, call: Mapping[str, Any], caller: CallContext, told: Mapping[str, str]
    ) -> Flow[Any]:
        """What a tool gave back, as it may go on: a message, a command with messages, or a list of both."""
        if isinstance(result, list):
            out = []
            for one in result:
                out.append((yield from self._result(one, call, caller, told)))
            return out
        if isinstance(result, BaseMessage):
            (message,) = yield from self._messages([result], call, caller, told)
            return message
        if isinstance(result, Command):
            return (yield from self._command(result, call, caller, told))
        return result

    def _command(
        self, command: Command[Any], call: Mapping[str, Any], caller: CallContext, told: Mapping[str, str]
    ) -> Flow[Any]:
        """A command, with the messages of its update judged: under whatever name the state has them."""
        update: Any = command.update
        if isinstance(update, dict):
            found = {}
            for name, value in update.items():
                found[name] = yield from self._value(name, value, call, caller, told)
            return replace(command, update=found)
        if update is None:
            return command
        if not isinstance(update, list | tuple) or _one(update):
            # An object of a state's class: LangGraph reads its fields, and so is this.
            update = list(command._update_as_tuples())  # noqa: SLF001 - nothing else tells
        pairs = []
        for item in update:
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
                pairs.append((item[0], (yield from self._value(item[0], item[1], call, caller, told))))
            elif isinstance(item, BaseMessage | str | dict):
                pairs += yield from self._messages([item], call, caller, told)
            else:
                pairs.append(item)
        return replace(command, update=type(update)(pairs))

    def _value(
        self, name: str, value: Any, call: Mapping[str, Any], caller: CallContext, told: Mapping[str, str]
    ) -> Flow[Any]:
        """A value that a command writes: messages, in any form that LangGraph takes under that name, or others."""
        if isinstance(value, Overwrite):
            return replace(value, value=(yield from self._value(name, value.value, call, caller, told)))
        listed = [value] if isinstance(value, BaseMessage | str | dict) or _one(value) else value
        if not isinstance(listed, list | tuple) or not listed:
            return value
        if name != "messages" and not any(isinstance(one, BaseMessage) for one in listed):
            return value
        return (yield from self._messages(listed, call, caller, told))

    def _messages(
        self, messages: Sequence[Any], call: Mapping[str, Any], caller: CallContext, told: Mapping[str, str]
    ) -> Flow[list[Any]]:
        messages = convert_to_messages(list(messages))
        named = [
            message.model_copy(update={"name": call["name"]})
            if isinstance(message, ToolMessage) and not message.name
            else message
            for message in messages
        ]
        found = yield from judged(self.checkpoint, named, caller=caller, descriptions=told, sent=True, once=True)
        out: list[Any] = []
        for one in found:
            error = one.error
            if error is None:
                out.append(one.message)
            elif isinstance(one.message, ToolMessage):
                own = {"id": one.message.tool_call_id, "name": one.message.name}
                out.append(self._stopped(own, error, caller, made=True))
            elif self.raises:
                raise bubbling(error)
            else:
                out.append(placeholder(one.message, error, marked=False))
        return out

    def _stopped(
        self, call: Mapping[str, Any], error: HighflameError, caller: CallContext, *, made: bool = False
    ) -> ToolMessage:
        if self.raises:
            raise bubbling(error)
        answer = tool_refusal(call, error, made=made)
        remember(self.checkpoint, answer, caller)
        return answer


def guard_tool_node(
    tools: ToolNode | Sequence[Any],
    settings: Settings | None = None,
    *,
    on_deny: str = "respond",
    step_up: Any = "interrupt",
    checkpoint: Checkpoint | None = None,
    node: Mapping[str, Any] | None = None,
    **options: Any,
) -> ToolNode:
    """A tool node, for graphs of one's own, that guards calls and results.

    ``tools`` are what a `ToolNode` takes, with ``node`` for its further arguments. A call that is stopped is
    answered by an error message (``on_deny="respond"``) or raises; ``step_up`` as for `HighflameAgentMiddleware`.
    """
    if isinstance(tools, ToolNode):
        raise ConfigError(
            "guard_tool_node() makes the node: give it the tools, and what else a ToolNode takes as node="
        )
    guard = ToolGuard(
        checkpoint or checkpoint_of(settings, options),
        raises=raising(on_deny),
        step_up=approver_of(step_up),
    )
    return ToolNode(
        tools, **{**(node or {}), "wrap_tool_call": guard.wrap_tool_call, "awrap_tool_call": guard.awrap_tool_call}
    )


def raising(on_deny: str) -> bool:
    """The setting ``on_deny``, validated."""
    if on_deny not in ("respond", "raise"):
        raise ConfigError(f"on_deny={on_deny!r} is unknown: use respond or raise")
    return on_deny == "raise"


def _approved(state: Any) -> Mapping[str, str]:
    found = state.get(APPROVED) if isinstance(state, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_approved(call: Mapping[str, Any], approved: Mapping[str, str]) -> bool:
    return approved.get(str(call["id"])) == digest_of(call["name"], call["args"])


def _descriptions(request: ToolCallRequest) -> dict[str, str]:
    tools = [*(getattr(request.runtime, "tools", None) or ()), *([request.tool] if request.tool else [])]
    return {tool.name: tool.description for tool in tools}


def _carrier(call: Mapping[str, Any]) -> Any:
    return AIMessage(content="", tool_calls=[{"name": call["name"], "args": call["args"], "id": call["id"]}])


def _one(value: Any) -> bool:
    """Whether a value is one message, as a pair of its role and its text."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)
