"""Where CrewAI is taken hold of beside its hooks, once in a process; outside a run each of these does nothing.

Hooks are not asked about replies of direct asynchronous calls, structured replies and calls of tools, learn of
a stream when it has left, and are gone by the time a stream that a scope has returned begins. So there are these
seams: ``call`` and ``acall`` of every class of models, the event bus, the outputs that stream, instructor's
replies, and tools, whose errors CrewAI keeps, repeats and answers by running them again.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from threading import Lock
from typing import Any

from crewai.events.event_bus import CrewAIEventsBus, crewai_event_bus
from crewai.llms.base_llm import BaseLLM
from crewai.tools.base_tool import BaseTool, Tool
from crewai.tools.structured_tool import CrewStructuredTool
from crewai.types import streaming
from crewai.utilities.internal_instructor import InternalInstructor
from crewai.utilities.string_utils import sanitize_tool_name

from .calls import Given, guarded_call, guarded_value, names_of
from .errors import CrewBlockedError, CrewGuardError
from .events import TOLD, current_outlet, plain_failure, tell_of_tool
from .routed import is_routed
from .running import adrive, current_run, drive
from .scope import Carried, carried
from .spans import of_model
from .tools import notice_inside, use_of

try:
    from crewai.tools.tool_failure import ToolFailureRecord
except ImportError:  # before it kept any
    ToolFailureRecord: Any = None  # type: ignore[no-redef]

__all__ = ["installed"]

_MARK = "__highflame_crewai__"
_lock = Lock()
_done = False


def installed() -> None:
    """Have the seams in place; doing it again does nothing."""
    global _done
    with _lock:
        if _done:
            return
        _watch_models()
        _replace(CrewAIEventsBus, "emit", _emitting)
        for kind in ("StreamingOutputBase", "StreamSessionBase"):
            if (owner := getattr(streaming, kind, None)) is not None:
                _replace(owner, "__init__", _streaming)
        _replace(InternalInstructor, "to_pydantic", _instructing)
        for owner, name, made in _RUN:
            _replace(owner, name, made)
        if ToolFailureRecord is not None:
            ToolFailureRecord.__init__ = _failing(ToolFailureRecord.__init__)  # type: ignore[method-assign]
        _done = True


def _replace(owner: type, name: str, made: Callable[[Any], Any]) -> None:
    original = owner.__dict__.get(name)
    # A wrapper that somebody puts around ours takes its attributes along: the mark names whom it was made for.
    if original is None or getattr(original, _MARK, None) is original:
        return
    replaced = made(original)
    setattr(replaced, _MARK, replaced)
    setattr(owner, name, replaced)


def _watch_models() -> None:
    """Every class of models, now and when it is made: providers are imported when they are first used."""
    for kind in _below(BaseLLM):
        _take(kind)
    before = BaseLLM.__dict__.get("__init_subclass__")

    def __init_subclass__(cls: type, **kwargs: Any) -> None:  # noqa: N807
        if before is not None:
            before.__get__(None, cls)(**kwargs)
        else:
            super(BaseLLM, cls).__init_subclass__(**kwargs)
        _take(cls)

    BaseLLM.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore[assignment]


def _below(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)


def _take(kind: type) -> None:
    _replace(kind, "call", _calling)
    _replace(kind, "acall", _acalling)


def _calling(method: Any) -> Any:
    names = names_of(method)

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = current_run()
        if run is None:
            return method(self, *args, **kwargs)
        given = Given(names, args, kwargs)
        with of_model(run, self, given) as activity:
            return drive(guarded_call(run, self, given, tell=_tell, method=method, activity=activity, later=False))

    return call


def _acalling(method: Any) -> Any:
    names = names_of(method)

    @wraps(method)
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = current_run()
        if run is None:
            return await method(self, *args, **kwargs)
        given = Given(names, args, kwargs)
        with of_model(run, self, given) as activity:
            return await adrive(
                guarded_call(run, self, given, tell=_tell, method=method, activity=activity, later=True)
            )

    return acall


def _tell(source: Any, event: Any) -> Any:
    """Tell the bus itself."""
    emit: Any = CrewAIEventsBus.emit
    return emit.__wrapped__(crewai_event_bus, source, event)


def _emitting(method: Any) -> Any:
    @wraps(method)
    def emit(self: Any, source: Any, event: Any) -> Any:
        outlet = current_outlet()
        if outlet is not None and outlet.takes(event):
            return outlet.feed(source, event)
        if isinstance(event, TOLD) and (run := current_run()) is not None:
            tell_of_tool(run, event)
        return method(self, source, event)

    return emit


def _instructing(method: Any) -> Any:
    @wraps(method)
    def to_pydantic(self: Any) -> Any:
        llm: Any = getattr(self, "llm", None)
        if is_routed(llm):
            # Instructor makes a client of its own, which knows nothing of a gateway.
            asked = [{"role": "user", "content": self.content}]
            reply = llm.call(asked, response_model=self.model, from_agent=getattr(self, "agent", None))
            return self.model.model_validate_json(reply) if isinstance(reply, str) else reply
        run = current_run()
        if run is None or current_outlet() is not None:
            return method(self)
        return drive(
            guarded_value(run, lambda: method(self), getattr(self, "agent", None), getattr(self, "llm", None))
        )

    return to_pydantic


def _streaming(method: Any) -> Any:
    @wraps(method)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        method(self, *args, **kwargs)
        run = current_run()
        if run is None:
            return
        here = carried(run)
        if self._sync_iterator is not None:
            self._sync_iterator = _Inside(self._sync_iterator, here)
        if self._async_iterator is not None:
            self._async_iterator = _AInside(self._async_iterator, here)

    return __init__


def _running(method: Any) -> Any:
    """A tool's own code, which may itself run a crew: what stops that is noted for the hook that comes after."""

    @wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        use = use_of(self) if current_run() is not None else None
        try:
            return method(self, *args, **kwargs)
        except (CrewBlockedError, CrewGuardError) as error:
            if use is not None:
                use.error = error
            raise

    return run


def _invoking(method: Any) -> Any:
    """The same where a tool is called in text: CrewAI answers an error by running it again, up to six times."""

    @wraps(method)
    def invoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        use = use_of(self) if current_run() is not None else None
        try:
            return method(self, *args, **kwargs)
        except (CrewBlockedError, CrewGuardError) as error:
            if use is None:
                raise
            use.error = error
            return notice_inside(use.name, error)

    return invoke


def _ainvoking(method: Any) -> Any:
    @wraps(method)
    async def ainvoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        use = use_of(self) if current_run() is not None else None
        try:
            return await method(self, *args, **kwargs)
        except (CrewBlockedError, CrewGuardError) as error:
            if use is None:
                raise
            use.error = error
            return notice_inside(use.name, error)

    return ainvoke


_RUN = (
    (BaseTool, "run", _running),
    (Tool, "run", _running),
    (CrewStructuredTool, "invoke", _invoking),
    (CrewStructuredTool, "ainvoke", _ainvoking),
)


def _failing(method: Any) -> Any:
    """The record of a tool's failure: it is raised, and stands in what a task came to."""

    @wraps(method)
    def __init__(self: Any, **values: Any) -> None:  # noqa: N807
        run = current_run()
        if run is not None and values.get("failure") is not None:
            name = sanitize_tool_name(str(values.get("tool_name") or ""))
            values["failure"] = plain_failure(run, values["failure"], name)
        method(self, **values)

    return __init__


class _Inside:
    """An iterator whose steps are taken inside the scope that it was made in: with the first the crew begins."""

    def __init__(self, iterator: Iterator[Any], here: Carried) -> None:
        self._iterator, self._here = iterator, here

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._here():
            return next(self._iterator)

    def close(self) -> None:
        """Leave it."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


class _AInside:
    """The same, asynchronous."""

    def __init__(self, iterator: AsyncIterator[Any], here: Carried) -> None:
        self._iterator, self._here = iterator, here

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        with self._here():
            return await self._iterator.__anext__()

    async def aclose(self) -> None:
        """Leave it."""
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            done = close()
            if inspect.isawaitable(done):
                await done
