"""The middleware for `create_agent`: every message, reply, tool call and result of an agent, each judged once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NotRequired
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import PrivateStateAttr
from langchain.agents.structured_output import AutoStrategy, ToolStrategy
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.config import get_config
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import TracePolicy, omit_payload

from highflame_middleware import BlockedError, CallContext, Decision, GuardError, HighflameError, Settings, Stage
from highflame_middleware.checkpoint import Flow, Invoke, StepUp, digest_of, worst

from .approval import approver_of, asked, awaitable
from .blocked import bubbling, unusable
from .doors import checkpoint_of
from .marks import MARK, marked_calls
from .model import with_checkpoint
from .replies import Marking
from .saying import Refusal, error_of, mark_of_error, placeholder, refusal, tool_refusal
from .texts import Judged, digest_of_message, in_history, judged, remember
from .tools import APPROVED, ToolGuard, raising
from .who import caller_of

__all__ = ["GuardedState", "HighflameAgentMiddleware"]

_SEEN = "highflame_seen"
_STOPPED = "highflame_stopped"


class GuardedState(AgentState[Any]):
    """What a thread remembers of its guard; none of it can be given from outside, nor is it given out."""

    # The digest under which each message was judged, by its id.
    highflame_seen: NotRequired[Annotated[dict[str, str], PrivateStateAttr]]
    # The digests of the approved calls, by their ids.
    highflame_approved: NotRequired[Annotated[dict[str, str], PrivateStateAttr]]
    # Why the run ends, where that is to be raised once the history is clean.
    highflame_stopped: NotRequired[Annotated[dict[str, Any] | None, PrivateStateAttr]]


class HighflameAgentMiddleware(AgentMiddleware[Any, Any, Any]):
    """Guards an agent: put it last among the middlewares, so that it is the innermost.

    Parameters
    ----------
    settings
        As for every door; omitted, ``options`` (the same settings as keywords), environment, file and defaults.
    on_deny
        ``respond`` ends the run with a refusal, and answers a denied tool call with an error message; ``raise``
        raises a `BlockedError` (or a `GuardError`, where there was no verdict) once the history is clean.
    step_up
        What becomes of a tool call that needs an approval: ``interrupt`` (see `approve`), ``deny``, or a function
        that is given a `StepUp` and returns True. Without a checkpointer an interrupt could not be answered, so
        the call is denied.
    refusal
        The text of a refusal, or a function that makes it of the error.
    name
        Another name, where an agent has two of these.
    self_test
        Whether to prove at construction, once a process, that a denial is enforced by the installed versions.

    >>> from langchain.agents import create_agent
    >>> from langchain_core.language_models import FakeListChatModel
    >>> model = FakeListChatModel(responses=["Card 4111 1111 1111 1111"])
    >>> agent = create_agent(model, middleware=[HighflameAgentMiddleware(gateway=None)])
    >>> said = agent.invoke({"messages": [("user", "My SSN is 536-22-8726")]})["messages"]
    >>> [message.content for message in said]
    ['My SSN is [REDACTED:ssn]', 'Card [REDACTED:credit_card]']
    """

    state_schema = GuardedState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_deny: str = "respond",
        step_up: Any = "interrupt",
        refusal: Refusal | None = None,
        name: str | None = None,
        self_test: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self._checkpoint = checkpoint_of(settings, options)
        self._raises = raising(on_deny)
        self._refusal, self._name = refusal, name
        self._step_up = approver_of(step_up)
        # What a tool gave is answered in the history, and raised by the next step: else other calls go unanswered.
        self._tools = ToolGuard(self._checkpoint, raises=False, step_up=self._step_up)
        if self_test:
            from .proof import prove_once  # noqa: PLC0415 - it makes agents with this class

            prove_once()

    @property
    def name(self) -> str:
        """The name under which its hooks are nodes of the graph."""
        return self._name or type(self).__name__

    # --- hooks, each in both colours ---------------------------------------------------------------------------

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Judge the messages that are new, or changed."""
        return self._checkpoint.run(self._before(state))

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """`before_model`."""
        return await self._checkpoint.arun(awaitable(self._before(state)))

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Ask a model that guards itself."""
        answer: ModelResponse[Any] | AIMessage = self._checkpoint.run(self._model(request, handler))
        return answer

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        """`wrap_model_call`."""
        answer: ModelResponse[Any] | AIMessage = await self._checkpoint.arun(self._model(request, handler))
        return answer

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Judge what has not been judged inside the model; answer the calls that are not made."""
        return self._checkpoint.run(self._after(state))

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """`after_model`."""
        return await self._checkpoint.arun(awaitable(self._after(state)))

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Judge a call, where that was not done, and its result; the tool is run at most once."""
        return self._tools.wrap_tool_call(request, handler)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """`wrap_tool_call`."""
        return await self._tools.awrap_tool_call(request, handler)

    def after_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Raise what was put off until the history was clean."""
        self._raise_stopped(state)
        return None

    async def aafter_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """`after_agent`."""
        self._raise_stopped(state)
        return None

    # --- what they do ------------------------------------------------------------------------------------------

    def _before(self, state: Mapping[str, Any]) -> Flow[dict[str, Any] | None]:
        caller = caller_of(get_config())
        messages: Sequence[BaseMessage] = state["messages"]
        seen: Mapping[str, str] = state.get(_SEEN) or {}
        reset = {_STOPPED: None} if state.get(_STOPPED) else None
        marked = self._marked_results(messages, seen)
        new = [message for message in messages if not self._knows(seen, message, caller)]
        if not new:
            return reset
        found = yield from judged(self._checkpoint, new, caller=caller, sent=True, once=True)
        shown: list[BaseMessage] = []
        errors: list[HighflameError] = [*marked]
        for old, one in zip(new, found, strict=True):
            message, stops = self._shown(one, messages)
            shown.append(message)
            if stops is not None and (self._raises or not isinstance(old, ToolMessage)):
                errors.append(stops)
        updates: list[BaseMessage] = [now for old, now in zip(new, shown, strict=True) if now is not old]
        latest = {message.id: message for message in (*messages, *updates)}
        update: dict[str, Any] = {
            _SEEN: {**self._of_others(seen), **self._noted(latest.values(), caller)},
            **(reset or {}),
        }
        if error := worst(errors):
            return self._ended(update, error, updates, caller)
        return {**update, "messages": updates} if updates else update

    def _shown(self, one: Judged, messages: Sequence[BaseMessage]) -> tuple[BaseMessage, HighflameError | None]:
        """A new message as it may stand in the history, and why it may not as it was."""
        one = in_history(one, messages)
        error = one.error
        if error is None and not isinstance(one.message, ToolMessage | AIMessage):
            # It was stopped at the entrance of the graph, for this agent to say so.
            mark = one.message.response_metadata.get(MARK)
            error = error_of(mark) if isinstance(mark, dict) else None
        if error is None:
            return one.message, None
        return placeholder(one.message, error, marked=isinstance(one.message, ToolMessage)), error

    def _marked_results(self, messages: Sequence[BaseMessage], seen: Mapping[str, str]) -> list[HighflameError]:
        """What was stopped in the calls that have just been made, where that is to be raised."""
        if not self._raises:
            return []
        marks = [
            message.response_metadata[MARK]
            for message in messages
            if isinstance(message, ToolMessage)
            and self._key(message) not in seen
            and isinstance(message.response_metadata.get(MARK), dict)
        ]
        return [error_of(mark) for mark in marks if _is_raised(mark)]

    def _refused(self, error: HighflameError, caller: CallContext, **fields: Any) -> AIMessage:
        """The refusal, which is not judged when it is read again: it is the application's own."""
        said = refusal(error, self._refusal, **fields)
        remember(self._checkpoint, said, caller)
        return said

    def _ended(
        self,
        update: Mapping[str, Any],
        error: HighflameError,
        messages: Sequence[BaseMessage],
        caller: CallContext,
    ) -> dict[str, Any]:
        """The end of a run: with a refusal, or with an error that is raised once this is written."""
        if self._raises:
            return {**update, "messages": list(messages), _STOPPED: mark_of_error(error), "jump_to": "end"}
        refused = self._refused(error, caller, id=str(uuid4()))
        # The thread knows it, in another process too: a guard that said no to a refusal would never stop.
        seen = {**update[_SEEN], **self._noted([refused], caller)}
        return {**update, _SEEN: seen, "messages": [*messages, refused], "jump_to": "end"}

    def _model(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Flow[Any]:
        caller = caller_of(get_config())
        state: Mapping[str, Any] = request.state
        seen: Mapping[str, str] = state.get(_SEEN) or {}
        model = with_checkpoint(
            request.model,
            self._checkpoint,
            marking=Marking("waiting" if self._raises else "all", _answers_of(request.response_format)),
            known=lambda message: self._knows(seen, message, caller),
        )
        try:
            response = yield from Invoke(partial(handler, request.override(model=model)))
            return (yield from self._parsed(response, caller))
        except (BlockedError, GuardError) as error:
            if self._raises:
                raise bubbling(error) from None
            return self._refused(error, caller)

    def _parsed(self, response: Any, caller: CallContext) -> Flow[Any]:
        """A response whose reply was made an object: where a model further inside said it, nobody has judged it."""
        if getattr(response, "structured_response", None) is None:
            return response
        replies = [message for message in response.result if isinstance(message, AIMessage)]
        found = yield from judged(self._checkpoint, replies, caller=caller, once=True)
        errors = [error for one in found for error in (one.error, *(call.error for call in one.calls)) if error]
        if any(one.edited for one in found):
            errors.append(unusable(Stage.RESPONSE))
        if error := worst(errors):
            raise error
        return response

    def _after(self, state: Mapping[str, Any]) -> Flow[dict[str, Any] | None]:
        config = get_config()
        caller = caller_of(config)
        messages: Sequence[BaseMessage] = state["messages"]
        at = next((at for at in range(len(messages) - 1, -1, -1) if isinstance(messages[at], AIMessage)), None)
        if at is None:
            return None
        message = messages[at]
        assert isinstance(message, AIMessage)
        answered = {one.tool_call_id for one in messages[at + 1 :] if isinstance(one, ToolMessage)}
        marks = marked_calls(message)
        (one,) = yield from judged(self._checkpoint, [message], caller=caller, decided=True, once=True)
        if one.error is not None:
            stopped = self._refused(one.error, caller, id=message.id)
            return self._ended_reply(one.error, stopped)
        now: AIMessage = one.message
        answers: list[ToolMessage] = []
        waiting: list[tuple[Mapping[str, Any], StepUp]] = []
        errors: list[HighflameError] = []
        for index, call in enumerate(message.tool_calls):
            mark = marks.get(call["id"] or str(index))
            if call["id"] in answered:
                continue
            name, args = call["name"], call["args"]
            error = one.calls[index].error if mark is None else _error_of_call(mark)
            if error is None:
                continue
            if isinstance(error, BlockedError) and error.decision is Decision.STEP_UP:
                step = StepUp(
                    tool=name,
                    arguments=args,
                    digest=digest_of(name, args),
                    reason=error.response.policy_reason,
                    request_id=error.response.request_id,
                )
                waiting.append((call, step))
                continue
            errors.append(error)
            answers.append(tool_refusal(call, error, id=str(uuid4())))
            remember(self._checkpoint, answers[-1], caller)
        approved: dict[str, str] = {}
        if waiting:
            said = yield from asked(self._step_up, [step for _, step in waiting], config)
            for (asked_for, step), answer in zip(waiting, said, strict=True):
                if answer.approved:
                    approved[str(asked_for["id"])] = step.digest
                else:
                    answers.append(tool_refusal(asked_for, None, said=answer.message))
        return self._answered(state, message, now, answers, approved, errors, caller)

    def _answered(  # noqa: PLR0917 - the end of one method
        self,
        state: Mapping[str, Any],
        message: AIMessage,
        now: AIMessage,
        answers: Sequence[ToolMessage],
        approved: Mapping[str, str],
        errors: Sequence[HighflameError],
        caller: CallContext,
    ) -> dict[str, Any] | None:
        """What is written of a reply: itself, where it was edited; answers; approvals; that it was judged."""
        update: dict[str, Any] = {
            _SEEN: {
                **(state.get(_SEEN) or {}),
                **self._noted([now, *(answer for answer in answers if answer.id is not None)], caller),
            }
        }
        if now is not message or answers:
            update["messages"] = [*([now] if now is not message else []), *answers]
        if approved:
            update[APPROVED] = {**(state.get(APPROVED) or {}), **approved}
        if errors and self._raises:
            error = worst(errors)
            assert error is not None
            waiting = [
                tool_refusal(call, error)
                for call in now.tool_calls
                if call["id"] not in {answer.tool_call_id for answer in answers}
            ]
            return self._ended(update, error, [*update.get("messages", []), *waiting], caller)
        return update

    def _ended_reply(self, error: HighflameError, stopped: AIMessage) -> dict[str, Any]:
        if self._raises:
            return {"messages": [stopped], _STOPPED: mark_of_error(error), "jump_to": "end"}
        return {"messages": [stopped], "jump_to": "end"}

    def _raise_stopped(self, state: Mapping[str, Any]) -> None:
        if mark := state.get(_STOPPED):
            raise error_of(mark)
        last = state["messages"][-1] if state["messages"] else None
        mark = last.response_metadata.get(MARK) if isinstance(last, ToolMessage) else None
        if self._raises and isinstance(mark, dict) and _is_raised(mark):
            # A tool whose result ends the run: no model is asked any more.
            raise error_of(mark)

    # What a thread remembers is each middleware's own: an agent may have two, by different policies.

    def _key(self, message: BaseMessage) -> str:
        return f"{self.name}/{message.id}"

    def _knows(self, seen: Mapping[str, str], message: BaseMessage, caller: CallContext) -> bool:
        return seen.get(self._key(message)) == self._digest(message, caller)

    def _noted(self, messages: Iterable[BaseMessage], caller: CallContext) -> dict[str, str]:
        return {self._key(message): self._digest(message, caller) for message in messages}

    def _of_others(self, seen: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in seen.items() if not key.startswith(f"{self.name}/")}

    def _digest(self, message: BaseMessage, caller: CallContext) -> str:
        policy = self._checkpoint.policy
        guard = policy.guard.name if policy.guard is not None else ""
        return digest_of_message(message, (guard, policy.mode, caller.user, caller.role))


def _answers_of(response_format: Any) -> frozenset[str]:
    """The names of what looks like tools, and is called to answer with an object."""
    if isinstance(response_format, AutoStrategy):
        response_format = ToolStrategy(schema=response_format.schema)
    if not isinstance(response_format, ToolStrategy):
        return frozenset()
    return frozenset(spec.name for spec in response_format.schema_specs)


def _is_raised(mark: Mapping[str, Any]) -> bool:
    """Whether what a message of a tool is marked with is an error; that somebody did not approve a call is none."""
    return mark.get("decision") != Decision.STEP_UP or "stage" in mark


def _error_of_call(mark: Mapping[str, Any]) -> HighflameError:
    if mark.get("decision") == "error":
        return error_of({"reason": "the guard gave no usable verdict on a tool call"})
    return error_of({**mark, "stage": Stage.TOOL_CALL.value})
