"""A graph whose input is judged before anything of it is in a checkpoint."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.runnables.config import ensure_config, merge_configs
from langgraph.errors import GraphInterrupt
from langgraph.pregel import Pregel
from langgraph.types import Command
from pydantic import BaseModel

from highflame_middleware import CallContext, ConfigError, HighflameError, Settings, Stage
from highflame_middleware.activities import Activity
from highflame_middleware.checkpoint import Checkpoint, Flow, text_at, worst
from highflame_middleware.codecs.parts import Path, leaves, rewrite

from .blocked import bubbling
from .doors import checkpoint_of
from .saying import placeholder
from .texts import in_history, judged
from .who import caller_of

__all__ = ["guard_graph"]

G = TypeVar("G", bound="Pregel[Any, Any, Any, Any]")
_KEPT = "_highflame"
_ROLES = frozenset({"role", "type"})

_classes: dict[type, type] = {}
_lock = Lock()


def guard_graph(graph: G, settings: Settings | None = None, *, on_deny: str | None = None, **options: Any) -> G:
    """The graph, judging what comes in before its first checkpoint: inputs, resumed values, updates of its state.

    All ways to run it are covered, as a node of another graph too; its state, nodes and name are the graph's own.
    Each run is a span with the spans of its models and tools in it.

    ``on_deny`` is ``raise`` (a `BlockedError`) or ``respond``: then a denied message goes in without its text and
    `HighflameAgentMiddleware` inside refuses; that is the default where it is inside.
    """
    if not isinstance(graph, Pregel):
        raise ConfigError(f"guard_graph() was given {type(graph).__name__}: give a compiled graph")
    inside = any("before_model" in name and _ours(node) for name, node in graph.nodes.items())
    if on_deny not in (None, "raise", "respond"):
        raise ConfigError(f"on_deny={on_deny!r} is unknown: use respond or raise")
    if on_deny == "respond" and not inside:
        raise ConfigError("on_deny='respond' needs a HighflameAgentMiddleware inside the graph, which refuses")
    responds = inside if on_deny is None else on_deny == "respond"
    guarded = copy.copy(graph)
    guarded.__class__ = _class_of(type(graph))
    guarded.__dict__[_KEPT] = _Entrance(checkpoint_of(settings, options), responds=responds)
    return guarded


def _ours(node: Any) -> bool:
    """Whether a node of a graph is the hook of a middleware of ours."""
    from .middleware import HighflameAgentMiddleware  # noqa: PLC0415 - most graphs have none

    bound = getattr(node, "bound", None)
    function = getattr(bound, "func", None) or getattr(bound, "afunc", None)
    return isinstance(getattr(function, "__self__", None), HighflameAgentMiddleware)


class _Entrance:
    """What comes into one graph."""

    def __init__(self, checkpoint: Checkpoint, *, responds: bool) -> None:
        self.checkpoint, self._responds = checkpoint, responds

    def admitted(self, given: Any, caller: CallContext) -> Flow[Any]:
        """An input as it may go in; raises where it may not."""
        if given is None:
            return None
        if isinstance(given, Command):
            update = yield from self._state(given.update, caller)
            resume = yield from self._strings(given.resume, caller)
            return dataclasses.replace(given, update=update, resume=resume)
        return (yield from self._state(given, caller))

    def _state(self, given: Any, caller: CallContext) -> Flow[Any]:
        if isinstance(given, BaseModel):
            fields = {name: getattr(given, name) for name in type(given).model_fields}
            return given.model_copy(update=(yield from self._state(fields, caller)))
        if dataclasses.is_dataclass(given) and not isinstance(given, type):
            fields = {item.name: getattr(given, item.name) for item in dataclasses.fields(given) if item.init}
            return dataclasses.replace(given, **(yield from self._state(fields, caller)))
        if isinstance(given, dict):
            out = {}
            for name, value in given.items():
                out[name] = yield from self._value(value, caller)
            return out
        return (yield from self._value(given, caller))

    def _value(self, value: Any, caller: CallContext) -> Flow[Any]:
        if isinstance(value, BaseMessage):
            return (yield from self._messages([value], caller))[0]
        if _are_messages(value):
            return (yield from self._messages(convert_to_messages(value), caller))
        if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            return (yield from self._state(value, caller))
        return (yield from self._strings(value, caller))

    def _messages(self, messages: Sequence[BaseMessage], caller: CallContext) -> Flow[list[Any]]:
        judgements = yield from judged(self.checkpoint, messages, caller=caller, sent=True, once=True)
        found = [in_history(one, messages) for one in judgements]
        error = worst([one.error for one in found if one.error is not None])
        if error is not None and not self._responds:
            raise bubbling(error)
        return [placeholder(one.message, one.error) if one.error is not None else one.message for one in found]

    def _strings(self, value: Any, caller: CallContext) -> Flow[Any]:
        places: list[tuple[Path, str]] = [(path, text) for path, text in leaves([value], (), frozenset()) if text]
        texts = [text_at(Stage.PROMPT, text) for _, text in places]
        rulings = yield from self.checkpoint.judging(texts, caller=caller, sent=True, once=True)
        errors: list[HighflameError] = [ruling.error for ruling in rulings if ruling.error is not None]
        if error := worst(errors):
            raise bubbling(error)
        changes = {
            path: ruling.text for (path, _), ruling in zip(places, rulings, strict=True) if ruling.text is not None
        }
        return rewrite([value], changes)[0] if changes else value


def _are_messages(value: Any) -> bool:
    """Whether a value of a state is a list of messages, in any of the forms that LangGraph takes."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, BaseMessage)
            or (isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one))
            or (isinstance(one, dict) and "content" in one and bool(_ROLES & one.keys()))
            for one in value
        )
    )


def _class_of(base: type) -> type:
    """The guarding class of a class of graphs."""
    with _lock:
        if base not in _classes:
            _classes[base] = base if base in _classes.values() else _made(base)
        return _classes[base]


def _made(base: Any) -> type:
    """A class like ``base`` whose runs go through the entrance: all of them end in `stream` and `astream`."""

    class Guarded(base):  # type: ignore[misc]
        def stream(self, input: Any, config: Any = None, **given: Any) -> Iterator[Any]:  # noqa: A002
            entrance, caller, activity = _opened(self, config)
            try:
                with activity.attached():
                    admitted = entrance.checkpoint.run(entrance.admitted(input, caller))
                    source = iter(base.stream(self, admitted, config, **given))
                while True:
                    with activity.attached():
                        try:
                            event = next(source)
                        except StopIteration:
                            break
                    yield event
            except BaseException as error:
                activity.end(error, quiet=(GeneratorExit, GraphInterrupt))
                raise
            finally:
                activity.end()

        async def astream(self, input: Any, config: Any = None, **given: Any) -> AsyncIterator[Any]:  # noqa: A002
            entrance, caller, activity = _opened(self, config)
            source: Any = None
            try:
                with activity.attached():
                    admitted = await entrance.checkpoint.arun(entrance.admitted(input, caller))
                    source = aiter(base.astream(self, admitted, config, **given))
                while True:
                    with activity.attached():
                        try:
                            event = await anext(source)
                        except StopAsyncIteration:
                            break
                    yield event
            except BaseException as error:
                activity.end(error, quiet=(GeneratorExit, GraphInterrupt))
                raise
            finally:
                activity.end()
                if source is not None:
                    await source.aclose()

        def copy(self, update: Any = None) -> Any:
            # `with_config` and others make a graph anew, of what its class knows.
            made = base.copy(self, update)
            made.__dict__[_KEPT] = self.__dict__[_KEPT]
            return made

        def bulk_update_state(self, config: Any, supersteps: Any) -> Any:
            entrance, caller = self.__dict__[_KEPT], caller_of(ensure_config(config))
            return base.bulk_update_state(
                self, config, entrance.checkpoint.run(_updates(entrance, supersteps, caller))
            )

        async def abulk_update_state(self, config: Any, supersteps: Any) -> Any:
            entrance, caller = self.__dict__[_KEPT], caller_of(ensure_config(config))
            found = await entrance.checkpoint.arun(_updates(entrance, supersteps, caller))
            return await base.abulk_update_state(self, config, found)

    Guarded.__name__, Guarded.__qualname__, Guarded.__module__ = base.__name__, base.__qualname__, base.__module__
    Guarded.__doc__ = base.__doc__
    return Guarded


def _opened(graph: Any, config: Any) -> tuple[_Entrance, CallContext, Activity]:
    """The entrance of a graph, whom a run is for, and the run's span."""
    merged: Mapping[str, Any] = merge_configs(graph.config, ensure_config(config))
    caller = caller_of(merged)
    name = graph.name if graph.name != "LangGraph" else None
    operation = "invoke_agent" if "model" in graph.nodes else "invoke_workflow"
    return graph.__dict__[_KEPT], caller, Activity(operation, name, caller=caller)


def _updates(entrance: _Entrance, supersteps: Any, caller: CallContext) -> Flow[Any]:
    """Updates of a state, as they may be written."""
    out = []
    for step in supersteps:
        own = []
        for update in step:
            values = yield from entrance.admitted(update.values, caller)
            own.append(update._replace(values=values))
        out.append(own)
    return out
