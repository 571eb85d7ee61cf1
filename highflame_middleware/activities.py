"""Spans of what a framework does around its calls: workflows, agents, tools, and models that no SDK seam sees.

The names are those of OpenTelemetry's GenAI conventions. As everywhere in this
library, no text of a prompt, reply or tool is recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .caller import CallContext, current_context
from .errors import HighflameError
from .telemetry import start_span

__all__ = ["Activity", "instrumented"]

# What the name of a span says after its operation, by operation.
_NAMED = {
    "invoke_agent": "gen_ai.agent.name",
    "execute_tool": "gen_ai.tool.name",
    "invoke_workflow": "gen_ai.workflow.name",
    "chat": "gen_ai.request.model",
}


class Activity:
    """One span, from its making to `end`, which counts once. As a context manager it is the current span inside.

    Parameters
    ----------
    operation
        ``invoke_workflow``, ``invoke_agent``, ``execute_tool`` or ``chat``.
    name
        Of the agent, tool, workflow or model.
    parent
        The span that it is a part of; omitted, the current one.
    quiet
        Record nothing.
    attributes
        Further ones, by their full names; those that are None are left out.
    """

    __slots__ = ("_ended", "_use", "span")

    def __init__(
        self,
        operation: str,
        name: str | None = None,
        *,
        caller: CallContext | None = None,
        parent: Span | None = None,
        quiet: bool = False,
        **attributes: Any,
    ) -> None:
        self._ended = False
        self._use: Any = None
        self.span: Span = trace.INVALID_SPAN
        if quiet:
            return
        caller = caller or current_context()
        found: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            _NAMED[operation]: name,
            "gen_ai.conversation.id": caller.session,
            "session.id": caller.session,
            "user.id": caller.user,
            **attributes,
        }
        self.span = start_span(
            f"{operation} {name}" if name else operation,
            kind=SpanKind.CLIENT if operation == "chat" else SpanKind.INTERNAL,
            attributes={key: value for key, value in found.items() if value is not None},
            context=trace.set_span_in_context(parent) if parent is not None else None,
        )

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Make it the current span for a while; never across a ``yield`` to the user."""
        if self.span is trace.INVALID_SPAN:
            # A quiet one does not come between the spans around it and those inside.
            yield
            return
        with trace.use_span(self.span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def note(self, **attributes: Any) -> None:
        """Set attributes by their names, underscores for dots in none: give them as ``**{"gen_ai.…": value}``."""
        for name, value in attributes.items():
            if value is not None:
                self.span.set_attribute(name, value)

    def end(self, error: BaseException | None = None, *, quiet: tuple[type[BaseException], ...] = ()) -> None:
        """It is over; ``error`` says why, unless it is of a kind that is none (``quiet``)."""
        if self._ended:
            return
        self._ended = True
        if error is not None and not isinstance(error, quiet):
            kind = type(error)
            home = kind.__module__.partition(".")[0]
            self.span.set_attribute(
                "error.type", kind.__qualname__ if home == "builtins" else f"{home}.{kind.__qualname__}"
            )
            # Only this library's own messages are known to hold nothing of the call.
            said = str(error) if isinstance(error, HighflameError) else None
            self.span.set_status(Status(StatusCode.ERROR, said))
        self.span.end()

    def __enter__(self) -> Activity:
        self._use = self.attached()
        self._use.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        self._use.__exit__(kind, error, trace_)
        self.end(error)


def instrumented() -> bool:
    """Whether `instrument` is at work, so that the calls of SDKs have spans of their own."""
    module = sys.modules.get("highflame_middleware.instrumentation")
    return getattr(module, "_current", None) is not None
