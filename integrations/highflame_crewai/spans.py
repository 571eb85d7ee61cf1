"""The spans of a run, named as OpenTelemetry's GenAI conventions do: its crew or flow, agents, tools and models.

CrewAI makes none of these. Hooks come in pairs, one before and one after, in the same context: what the first
begins the second ends. What an error leaves open ends with the crew, or with the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from highflame_middleware.activities import Activity, instrumented

from .running import Run, caller_of

__all__ = ["begin", "end", "of_model"]

# What has been begun in this context and not ended, the innermost last: of what it is, and the activity.
_open: ContextVar[tuple[tuple[Any, Activity], ...]] = ContextVar("highflame_crewai_spans", default=())


def begin(run: Run, what: Any, operation: str, name: str | None, *, agent: Any = None, **attributes: Any) -> None:
    """Begin the span of something, and be inside it."""
    inside = _open.get()
    if run.options.quiet or (inside and inside[-1][0] is what):
        return
    activity = Activity(operation, name, caller=caller_of(agent), **attributes)
    activity.__enter__()
    run.activities.add(activity)
    _open.set((*inside, (what, activity)))


def end(run: Run, what: Any, error: BaseException | None = None) -> None:
    """End the span of something, and all that were begun inside it."""
    inside = _open.get()
    if not any(known is what for known, _ in inside):
        return
    while inside:
        known, activity = inside[-1]
        inside = inside[:-1]
        run.activities.discard(activity)
        activity.__exit__(type(error) if error is not None else None, error, None)
        if known is what:
            break
    _open.set(inside)


@contextmanager
def of_model(run: Run, model: Any, given: Any) -> Iterator[Activity]:
    """The span of a model's call, unless `instrument` makes one below."""
    below = instrumented() and type(model).__module__.startswith("crewai.")
    provider = getattr(model, "provider", None)
    name = getattr(model, "model", None)
    about: dict[str, Any] = {"gen_ai.provider.name": provider if isinstance(provider, str) else "crewai"}
    with Activity(
        "chat",
        name if isinstance(name, str) else None,
        caller=caller_of(given["from_agent"]),
        quiet=below or run.options.quiet,
        **about,
    ) as activity:
        yield activity
