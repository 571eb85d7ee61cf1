"""One call of a model, whichever class it is of: its prompt, the call, its reply. Written once for both colours."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

from pydantic import BaseModel, ValidationError

from highflame_middleware import HighflameError
from highflame_middleware.activities import Activity
from highflame_middleware.checkpoint import text_at
from highflame_middleware.contexts import ModelContext
from highflame_middleware.flow import Flow
from highflame_middleware.types import Stage

from .errors import CrewGuardError, abort_for, unquoted
from .events import Outlet, opened
from .running import Do, Run, adrive, drive, raise_worst
from .texts import Calls, Prompt, described, is_calls, written_reply
from .tools import notice_for

__all__ = ["Given", "guarded_call", "guarded_value", "names_of", "rebuilt"]


# What `call` takes, in its order; a class of one's own may give it other names, or none.
_ORDER = ("messages", "tools", "callbacks", "available_functions", "from_task", "from_agent", "response_model")


class Given:
    """What a model was called with, each thing where it was given."""

    def __init__(self, order: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._order, self._args, self._kwargs = order, tuple(args), dict(kwargs)

    def __getitem__(self, name: str) -> Any:
        name = self._own(name)
        if name in self._kwargs:
            return self._kwargs[name]
        at = self._order.index(name) if name in self._order else len(self._args)
        return self._args[at] if at < len(self._args) else None

    def with_changes(self, changes: Mapping[str, Any]) -> Given:
        """The same with some of it replaced."""
        args, kwargs = list(self._args), dict(self._kwargs)
        for known, value in changes.items():
            name = self._own(known)
            if name not in kwargs and name in self._order and self._order.index(name) < len(args):
                args[self._order.index(name)] = value
            else:
                kwargs[name] = value
        return Given(self._order, args, kwargs)

    def call(self, method: Callable[..., Any], model: Any) -> Any:
        """Call the model with it."""
        return method(model, *self._args, **self._kwargs)

    def _own(self, name: str) -> str:
        """Whatever the first is called, it is what the model is to read."""
        return self._order[0] if name == "messages" and name not in self._kwargs else name


def guarded_call(
    run: Run,
    model: Any,
    given: Given,
    *,
    tell: Callable[[Any, Any], Any],
    method: Callable[..., Any],
    activity: Activity,
    later: bool,
) -> Flow[Any]:
    """Judge a call's prompt, make it, and judge its reply before anybody is told of it."""
    about = {"agent": given["from_agent"], "model": _context_of(model)}
    given = yield from _admitted(run, given, about)
    outlet = Outlet(run, tell, later=later, **about)
    made = partial(_made, run, outlet, given, method, model)
    amade = partial(_amade, run, outlet, given, method, model)
    try:
        reply = yield from Do(made, amade)
    except Exception as error:
        if outlet.refused is not None:
            raise abort_for(outlet.refused) from None
        if run.checkpoint.policy.holds and (plain := unquoted(error)) is not error:
            raise plain from None
        raise
    activity.note(**outlet.usage)
    try:
        yield from outlet.finish()
        if outlet.refused is not None:
            raise abort_for(outlet.refused)
        judged = yield from _judged_reply(run, outlet, reply, given, about)
    except HighflameError as error:
        outlet.fail(error)
        raise
    except Exception as error:
        if broken := run.fault(error, "reading a reply"):
            raise broken from error
        judged, changed, stopped = reply, False, False
    else:
        judged, changed, stopped = judged
    outlet.let_go(judged, changed=changed, stopped=stopped)
    return judged


def guarded_value(run: Run, make: Callable[[], Any], agent: Any, model: Any) -> Flow[Any]:
    """A structured reply that comes past the classes of models; its prompt the hooks have seen."""
    about = {"agent": agent, "model": _context_of(model)}
    with run.checkpoint.covering():
        reply = make()
    text = text_at(Stage.RESPONSE, written_reply(reply), is_json=True)
    (ruling,) = yield from run.judged([text], **about)
    raise_worst([ruling])
    return reply if ruling.text is None else rebuilt(reply, ruling.text)


def _made(run: Run, outlet: Outlet, given: Given, method: Callable[..., Any], model: Any) -> Any:
    with opened(outlet), run.checkpoint.covering():
        return given.call(method, model)


async def _amade(run: Run, outlet: Outlet, given: Given, method: Callable[..., Any], model: Any) -> Any:
    with opened(outlet), run.checkpoint.covering():
        return await given.call(method, model)


def _admitted(run: Run, given: Given, about: Mapping[str, Any]) -> Flow[Given]:
    """What the call may be made with."""
    try:
        prompt = Prompt(given["messages"], given["tools"])
        rulings = yield from run.judged(prompt.texts, sent=True, descriptions=described(given["tools"]), **about)
        raise_worst(rulings)
        changes = prompt.edited(rulings)
        functions = given["available_functions"]
        if isinstance(functions, Mapping) and functions:
            # These a model's class calls by itself, past every hook.
            guard = partial(_guarded_function, run, about["agent"])
            changes["available_functions"] = {name: guard(name, call) for name, call in functions.items()}
    except HighflameError:
        raise
    except Exception as error:
        if broken := run.fault(error, "reading a prompt"):
            raise broken from error
        return given
    return given.with_changes(changes)


def _judged_reply(
    run: Run, outlet: Outlet, reply: Any, given: Given, about: Mapping[str, Any]
) -> Flow[tuple[Any, bool, bool]]:
    """The reply as it may be given back, whether it was changed, and whether a call in it was stopped."""
    if reply is None or reply == "":
        return reply, False, False
    if is_calls(reply):
        return (yield from _judged_calls(run, reply, given, about))
    if isinstance(reply, str):
        came = outlet.cleared(reply)
        if came is not None:
            run.keep_reply(came, about["agent"])
            return came, came != reply, False
        (ruling,) = yield from run.judged([text_at(Stage.RESPONSE, reply)], **about)
        raise_worst([ruling])
        return (reply, False, False) if ruling.text is None else (ruling.text, True, False)
    text = text_at(Stage.RESPONSE, written_reply(reply), is_json=True)
    (ruling,) = yield from run.judged([text], **about)
    raise_worst([ruling])
    if ruling.text is None:
        return reply, False, False
    edited = rebuilt(reply, ruling.text)
    run.keep_reply(written_reply(edited), about["agent"])
    return edited, True, False


def rebuilt(reply: Any, text: str) -> Any:
    """A structured reply, of its edited text; what cannot be edited is stopped."""
    try:
        if isinstance(reply, BaseModel):
            return type(reply).model_validate_json(text)
        return type(reply)(json.loads(text))
    except (ValidationError, ValueError, TypeError):
        raise CrewGuardError(
            f"a redaction would make the reply no {type(reply).__name__} any more: it was stopped"
        ) from None


def _judged_calls(
    run: Run, reply: list[Any], given: Given, about: Mapping[str, Any]
) -> Flow[tuple[Any, bool, bool]]:
    """Calls of tools, judged side by side: edited in place; a call that is not to be made loses its arguments."""
    calls = Calls(reply)
    if calls.unread and run.strict:
        raise CrewGuardError("a call of a tool is written in a way that is not known: it could not be guarded")
    rulings = yield from run.judged(calls.texts, descriptions=described(given["tools"]), **about)
    # Without an agent nobody comes by a tool's hooks: whoever called the model would run it.
    if given["from_agent"] is None:
        raise_worst(rulings)
        for text in calls.texts:
            run.spend(text, None)
    changed = stopped = False
    for place, ruling in zip(calls.places, rulings, strict=True):
        if ruling.error is not None:
            notice = notice_for(place.name, ruling.error)
            place.put(json.dumps(run.stop(notice, ruling.error, tool=place.name, agent=given["from_agent"])))
            changed = stopped = True
        elif ruling.text is not None:
            place.put(ruling.text)
            changed = True
    return reply, changed, stopped


def _guarded_function(run: Run, agent: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that a model's class calls for a model: its arguments judged before, what it gives after."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def later(**arguments: Any) -> Any:
            return await adrive(_through(run, agent, name, function, arguments))

        return later

    @wraps(function)
    def now(**arguments: Any) -> Any:
        return drive(_through(run, agent, name, function, arguments))

    return now


def _through(run: Run, agent: Any, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Flow[Any]:
    """What a function gives for these arguments, as far as a model may have either."""
    given = json.dumps(arguments, ensure_ascii=False, default=str)
    call = text_at(Stage.TOOL_CALL, given, tool=name, is_json=True)
    (ruling,) = yield from run.judged([call], agent=agent)
    if ruling.error is not None:
        return notice_for(name, ruling.error)
    run.spend(call, agent)
    if ruling.text is not None:
        arguments = json.loads(ruling.text)
    result = yield from Do(lambda: function(**arguments), lambda: function(**arguments))
    if result is None:
        return None
    written = result if isinstance(result, str) else written_reply(result)
    (ruling,) = yield from run.judged([text_at(Stage.TOOL_RESULT, written, tool=name)], agent=agent)
    if ruling.error is not None:
        return notice_for(name, ruling.error)
    return result if ruling.text is None else ruling.text


def _context_of(model: Any) -> ModelContext:
    provider = getattr(model, "provider", None)
    name = getattr(model, "model", None)
    return ModelContext(
        provider=provider if isinstance(provider, str) else "crewai", model=name if isinstance(name, str) else None
    )


def names_of(method: Callable[..., Any]) -> tuple[str, ...]:
    """What a method takes after the model itself, by place; where it does not say, what CrewAI's own would."""
    try:
        items = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return _ORDER
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = tuple(item.name for item in items if item.kind in kinds)[1:]
    return (*own, *_ORDER[len(own) :])
