"""What a model's call tells CrewAI's listeners, held until it is judged: pieces of a stream, the reply as a whole.

Every provider's class, litellm's and a user's own, tells of its reply over one event bus, and CrewAI makes its
streams of what comes over that. Here it is let through as far as no finding can begin any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from uuid import uuid4

from crewai.events.types import tool_usage_events
from crewai.events.types.llm_events import (
    LLMCallCompletedEvent,
    LLMCallFailedEvent,
    LLMStreamChunkEvent,
    LLMThinkingChunkEvent,
)
from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent
from crewai.hooks.dispatch import HookAborted
from crewai.utilities.serialization import to_serializable
from crewai.utilities.string_utils import sanitize_tool_name

from highflame_middleware import HighflameError
from highflame_middleware.checkpoint import Checkpoint, Growing, Ruling, rendered, text_at
from highflame_middleware.contexts import ModelContext
from highflame_middleware.flow import Flow
from highflame_middleware.types import Stage

from .errors import unquoted
from .running import Do, Run, caller_of
from .tools import notice_for, tool_user

__all__ = ["TOLD", "Outlet", "current_outlet", "opened", "plain_failure", "tell_of_tool"]

_TAKEN = (LLMStreamChunkEvent, LLMThinkingChunkEvent, LLMCallCompletedEvent, LLMCallFailedEvent)

# What CrewAI tells of a tool's failure, where it does.
_Detected: Any = getattr(tool_usage_events, "ToolFailureDetectedEvent", ())
TOLD = (ToolUsageFinishedEvent, ToolUsageErrorEvent, *((_Detected,) if _Detected else ()))
_outlet: ContextVar[Outlet | None] = ContextVar("highflame_crewai_outlet", default=None)


def current_outlet() -> Outlet | None:
    """Where the events of the model's call that is being made in this context go."""
    return _outlet.get()


@contextmanager
def opened(outlet: Outlet) -> Iterator[None]:
    """Have the events of the calls made inside go through an outlet."""
    token = _outlet.set(outlet)
    try:
        yield
    finally:
        _outlet.reset(token)


class _Spoken:
    """One text that comes in pieces: what was written of it, and what was let go."""

    def __init__(self, growing: Growing) -> None:
        self.growing = growing
        self.written: list[str] = []
        self.released: list[str] = []
        self.last: tuple[Any, Any] | None = None

    def release(self, source: Any, event: Any, text: str, tell: Callable[[Any, Any], Any]) -> None:
        self.last = (source, event)
        if text:
            self.released.append(text)
            event.chunk = text
            tell(source, event)


class Outlet:
    """The events of one call of a model. ``tell`` is how the event bus is told."""

    def __init__(
        self, run: Run, tell: Callable[[Any, Any], Any], *, agent: Any, model: ModelContext, later: bool
    ) -> None:
        self._checkpoint = run.checkpoint
        policy = run.checkpoint.policy
        if later and policy.stream == "sentence" and policy.guard is not None and policy.guard.window is None:
            # Events are told of by blocking code: a guard that is far away would hold up the event loop.
            self._checkpoint = _buffering(run.checkpoint)
        self._holds = policy.holds
        self._passes = policy.guard is None or (policy.stream == "passthrough" and policy.guard.window is None)
        self._tell = tell
        self._agent, self._model = agent, model
        self._spoken: dict[tuple[type, str | None], _Spoken] = {}
        self._calls: list[tuple[Any, Any]] = []
        self._ended: list[tuple[Any, Any]] = []
        self.refused: HighflameError | None = None
        self.usage: dict[str, Any] = {}

    def takes(self, event: Any) -> bool:
        """Whether an event is to go through here."""
        return not self._passes and isinstance(event, _TAKEN)

    def feed(self, source: Any, event: Any) -> None:
        """Take an event; raises to have the provider's stream left once its text is to be stopped."""
        if isinstance(event, LLMCallCompletedEvent):
            self.usage |= _usage_of(event)
        if isinstance(event, LLMCallFailedEvent):
            # It is told of where the error is being handled, whose words it repeats.
            error = sys.exc_info()[1]
            if self._holds and isinstance(error, Exception) and (plain := unquoted(error)) is not error:
                event.error = f"LLM call failed: {plain}"
            self._tell(source, event)
            return
        if not self._holds and not isinstance(event, LLMStreamChunkEvent | LLMThinkingChunkEvent):
            self._tell(source, event)
        elif isinstance(event, LLMCallCompletedEvent):
            self._ended.append((source, event))
        elif getattr(event, "tool_call", None) is not None:
            # Arguments are judged whole.
            self._calls.append((source, event)) if self._holds else self._tell(source, event)
        else:
            self._feed_text(source, event)
        if self.refused is not None:
            # No word of why: CrewAI reads errors by their words, and would try again.
            raise HookAborted("stopped by the guard", source="highflame")

    def finish(self) -> Flow[None]:
        """The reply has ended: clear what is left of its texts; sets ``refused`` where they are to be stopped."""
        for spoken in list(self._spoken.values()):
            if self.refused is not None:
                return
            try:
                rest = yield from Do(spoken.growing.finish, spoken.growing.afinish)
            except HighflameError as error:
                self.refused = error
                return
            if rest and spoken.last is not None and self._holds:
                source, event = spoken.last
                again = event.model_copy(update={"event_id": str(uuid4()), "chunk": rest})
                spoken.release(source, again, rest, self._tell)

    def cleared(self, text: str) -> str | None:
        """What became of a reply in its pieces; None where it did not come in pieces, or not as it is now."""
        for (kind, _), spoken in self._spoken.items():
            if kind is not LLMStreamChunkEvent:
                continue
            written = "".join(spoken.written)
            released = "".join(spoken.released) if self._holds else written
            if written == text:
                return released
            if written == released and text and text in written:
                return text
        return None

    def let_go(self, reply: Any, *, changed: bool, stopped: bool) -> None:
        """Tell of what was held, now that the reply is what it is to be."""
        for source, event in self._calls if not (changed or stopped) else ():
            self._tell(source, event)
        for source, event in self._ended:
            if changed:
                event.response = to_serializable(reply)
            self._tell(source, event)
        self._calls, self._ended = [], []

    def fail(self, error: HighflameError) -> None:
        """The call is stopped: whoever was told that it began is told that it failed, and nothing of its reply."""
        for source, event in self._ended:
            told = {"from_task": None, "from_agent": None, "model": event.model, "call_id": event.call_id}
            failed = LLMCallFailedEvent(error=f"LLM call denied by highflame: {error}", **told)
            for name in ("task_id", "task_name", "agent_id", "agent_role"):
                setattr(failed, name, getattr(event, name, None))
            self._tell(source, failed)
        self._calls, self._ended = [], []

    def _feed_text(self, source: Any, event: Any) -> None:
        if self.refused is not None:
            return
        spoken = self._spoken.get(key := (type(event), event.response_id))
        if spoken is None:
            growing = self._checkpoint.growing(Stage.RESPONSE, caller=caller_of(self._agent), model=self._model)
            spoken = self._spoken[key] = _Spoken(growing)
        spoken.written.append(event.chunk)
        try:
            text = spoken.growing.feed(event.chunk)
        except HighflameError as error:
            self.refused = error
            return
        if self._holds:
            spoken.release(source, event, text, self._tell)
        else:
            self._tell(source, event)


def tell_of_tool(run: Run, event: Any) -> None:
    """Make what is told of a tool what a model may read of it: CrewAI tells of some before it asks its hooks."""
    if not run.checkpoint.policy.holds:
        return
    name = sanitize_tool_name(event.tool_name)
    if (failure := getattr(event, "failure", None)) is not None:
        event.failure = plain_failure(run, failure, name)
    if isinstance(event, _Detected):
        return
    field = "output" if isinstance(event, ToolUsageFinishedEvent) else "error"
    said = getattr(event, field)
    if said is not None and said != "":
        setattr(event, field, _plain(run, said if isinstance(said, str) else str(said), name, otherwise=said))


def plain_failure(run: Run, failure: Any, tool: str) -> Any:
    """A tool's failure as far as anybody may read of it: it repeats what the tool said when it failed."""
    if not run.checkpoint.policy.holds:
        return failure
    message = _plain(run, failure.message, tool)
    details = failure.details
    if details and _plain(run, written := rendered(details), tool) != written:
        details = {}
    if message == failure.message and details is failure.details:
        return failure
    return failure.model_copy(update={"message": message, "details": details})


def _plain(run: Run, said: str, tool: str, *, otherwise: Any = None) -> Any:
    """What of a tool's words may be read; ``otherwise`` is given back where that is all of them."""
    text = text_at(Stage.TOOL_RESULT, said, tool=tool)
    try:
        (ruling,) = run.judge([text], agent=tool_user.get()) if said else (Ruling(),)
    except Exception as error:  # noqa: BLE001 - decided here, whatever it is
        broken = run.fault(error, "reading what a tool gave back")
        return str(broken) if broken else said
    if ruling.error is not None:
        return notice_for(tool, ruling.error)
    if ruling.text is not None:
        return ruling.text
    return said if otherwise is None else otherwise


_USAGE = {"prompt_tokens": "gen_ai.usage.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens"}


def _usage_of(event: Any) -> dict[str, Any]:
    """What a reply has cost, and how it ended."""
    usage = event.usage if isinstance(event.usage, dict) else {}
    found: dict[str, Any] = {name: usage[key] for key, name in _USAGE.items() if isinstance(usage.get(key), int)}
    finish = getattr(event, "finish_reason", None)
    if isinstance(finish, str):
        found["gen_ai.response.finish_reasons"] = (finish,)
    return found


def _buffering(checkpoint: Checkpoint) -> Checkpoint:
    other = object.__new__(type(checkpoint))
    other.__dict__.update(checkpoint.__dict__)
    other.policy = replace(checkpoint.policy, stream="buffer")
    return other
