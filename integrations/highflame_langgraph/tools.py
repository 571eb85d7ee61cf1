"""Calls of tools and their results, wherever a tool node runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_messages
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from highflame_middleware import CallContext, ConfigError, HighflameError, Settings, Stage
from highflame_middleware.activities import Activity
from highflame_middleware.checkpoint import (
    Checkpoint,
    Flow,
    Invoke,
    StepUp,
    digest_of,
    rendered,
    text_at,
)

from .approval import Approver, approver_of, asked, awaitable
from .blocked import bubbling
from .saying import placeholder, tool_refusal
from .texts import judged, remember, ruled
from .who import caller_of

__all__ = ["ToolGuard", "guard_tool_node"]

# Approvals that were given before the tool is run, by the id of the call.
APPROVED = "highflame_approved"


class ToolGuard:
    """Judges a call of a tool before it is run, once, and what it gives back before anybody has it.

    ``raises`` has what is stopped raised; else it becomes the call's own error message, and the run goes on.
    """

    def __init__(self, checkpoint: Checkpoint, *, raises: bool, step_up: Approver) -> None:
        self.checkpoint, self.raises, self.step_up = checkpoint, raises, step_up

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """For `ToolNode(wrap_tool_call=…)`."""
        return self.checkpoint.run(self.flow(request, handler))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """For `ToolNode(awrap_tool_call=…)`."""
        return await self.checkpoint.arun(awaitable(self.flow(request, handler)))

    def flow(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Flow[Any]:
        """One call."""
        call, config = request.tool_call, request.runtime.config
        caller = caller_of(config)
        stopped, request = yield from self._admitted(request, caller, config)
        if stopped is not None:
            return stopped
        about: dict[str, Any] = {"gen_ai.tool.call.id": call["id"], "gen_ai.tool.type": "function"}
        with Activity("execute_tool", call["name"], caller=caller, quiet=self.checkpoint.quiet, **about):
            result = yield from Invoke(partial(handler, request))
            return (yield from self._result(result, call, caller))

    def _admitted(
        self, request: ToolCallRequest, caller: CallContext, config: Mapping[str, Any]
    ) -> Flow[tuple[ToolMessage | None, ToolCallRequest]]:
        """The call as it may be made, or the answer in its place."""
        call = request.tool_call
        name, args = call["name"], call["args"]
        if _approved(request.state).get(str(call["id"])) == digest_of(name, args):
            return None, request
        text = text_at(Stage.TOOL_CALL, rendered(args), tool=name, is_json=True)._replace(path=("calls", 0))
        described = {name: request.tool.description} if request.tool is not None else {}
        (ruling,) = yield from self.checkpoint.judging([text], caller=caller, descriptions=described, once=True)
        if (step := StepUp.of(ruling, name, args)) is not None:
            (said,) = yield from asked(self.step_up, [step], config)
            if said.approved:
                self.checkpoint.remember(text, caller=caller)
                return None, request
            if said.message is not None:
                return tool_refusal(call, None, said=said.message), request
        carrier = _carrier(call)
        one = ruled(carrier, [text], [ruling], strict=self.checkpoint.policy.mode.blocks)
        if (error := one.calls[0].error) is not None:
            return self._stopped(call, error, caller), request
        if one.edited:
            request = request.override(tool_call={**call, "args": one.message.tool_calls[0]["args"]})
        return None, request

    def _result(self, result: Any, call: Mapping[str, Any], caller: CallContext) -> Flow[Any]:
        """What a tool gave back, as it may go on: a message, a command with messages, or a list of both."""
        if isinstance(result, list):
            out = []
            for one in result:
                out.append((yield from self._result(one, call, caller)))
            return out
        if isinstance(result, BaseMessage):
            (message,) = yield from self._messages([result], call, caller)
            return message
        if isinstance(result, Command):
            return (yield from self._command(result, call, caller))
        return result

    def _command(self, command: Command[Any], call: Mapping[str, Any], caller: CallContext) -> Flow[Any]:
        update: Any = command.update
        if isinstance(update, dict) and isinstance(update.get("messages"), list | BaseMessage):
            found = yield from self._messages(_listed(update["messages"]), call, caller)
            return replace(command, update={**update, "messages": found})
        if isinstance(update, list | tuple):
            pairs = []
            for item in update:
                if isinstance(item, tuple) and len(item) == 2 and item[0] == "messages":
                    pairs.append(("messages", (yield from self._messages(_listed(item[1]), call, caller))))
                elif isinstance(item, BaseMessage):
                    pairs += yield from self._messages([item], call, caller)
                else:
                    pairs.append(item)
            return replace(command, update=type(update)(pairs))
        return command

    def _messages(self, messages: Sequence[Any], call: Mapping[str, Any], caller: CallContext) -> Flow[list[Any]]:
        messages = convert_to_messages(list(messages))
        named = [
            message.model_copy(update={"name": call["name"]})
            if isinstance(message, ToolMessage) and not message.name
            else message
            for message in messages
        ]
        found = yield from judged(self.checkpoint, named, caller=caller, sent=True, once=True)
        out: list[Any] = []
        for one in found:
            error = one.error
            if error is None:
                out.append(one.message)
            elif isinstance(one.message, ToolMessage):
                own = {"id": one.message.tool_call_id, "name": one.message.name}
                out.append(self._stopped(own, error, caller))
            elif self.raises:
                raise bubbling(error)
            else:
                out.append(placeholder(one.message, error, marked=False))
        return out

    def _stopped(self, call: Mapping[str, Any], error: HighflameError, caller: CallContext) -> ToolMessage:
        if self.raises:
            raise bubbling(error)
        answer = tool_refusal(call, error)
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
        checkpoint or Checkpoint(settings, name="langgraph", **options),
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


def _carrier(call: Mapping[str, Any]) -> Any:
    return AIMessage(content="", tool_calls=[{"name": call["name"], "args": call["args"], "id": call["id"]}])


def _listed(messages: Any) -> list[Any]:
    return list(messages) if isinstance(messages, list | tuple) else [messages]
