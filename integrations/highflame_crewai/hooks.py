"""CrewAI's hooks, each for whichever run its context is a part of. Outside a run they do nothing.

A hook that raises anything but an abort is as good as none: so what goes wrong in these is decided here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any

from crewai.hooks import InterceptionPoint, get_hooks, register_hook
from crewai.hooks.dispatch import HookAborted, get_scoped_hooks

from highflame_middleware import HighflameError
from highflame_middleware.checkpoint import Ruling, text_at
from highflame_middleware.contexts import ModelContext
from highflame_middleware.types import Stage

from .calls import rebuilt
from .errors import abort_for
from .events import current_outlet
from .running import BLOCKED, Run, current_run, raise_worst
from .spans import begin, end
from .texts import Prompt
from .tools import Use, began, ended, notice_for, notice_inside

__all__ = ["HOOKS", "merged", "stand_by"]


def _decided(hook: Callable[[Run, Any], Any]) -> Callable[[Any], Any]:
    """A hook none of whose faults CrewAI gets to swallow."""

    @wraps(hook)
    def highflame(ctx: Any) -> Any:
        run = current_run()
        if run is None or run.checkpoint.policy.guard is None:
            return None
        try:
            return hook(run, ctx)
        except HookAborted:
            raise
        except HighflameError as error:
            raise abort_for(error) from error
        except Exception as error:
            if broken := run.fault(error, f"running its hook {hook.__name__}"):
                raise broken from error
            return None

    return highflame


@_decided
def pre_model_call(run: Run, ctx: Any) -> None:
    """Judge the messages before anything is done with them: counting their tokens sends them to the provider."""
    if (error := run.over(ctx.agent)) is not None:
        raise abort_for(error)
    prompt = Prompt(ctx.messages)
    rulings = run.judge(prompt.texts, sent=True, agent=ctx.agent, model=_model_of(ctx.llm))
    raise_worst(rulings)
    if changed := prompt.edited(rulings):
        # In place: this is the agent's history.
        ctx.messages[:] = changed["messages"]


@_decided
def post_model_call(run: Run, ctx: Any) -> str | None:
    """Judge a reply that did not come from a class of models, or that another hook has written anew."""
    if current_outlet() is not None or not ctx.response:
        return None
    (ruling,) = run.judge([text_at(Stage.RESPONSE, ctx.response)], agent=ctx.agent, model=_model_of(ctx.llm))
    raise_worst([ruling])
    return ruling.text


@_decided
def pre_tool_call(run: Run, ctx: Any) -> None:
    """Judge a tool's arguments; those of a call that was stopped in the reply say so."""
    given = ctx.tool_input
    use = began(given, ctx.tool_name, ctx.agent)
    if isinstance(given, dict) and BLOCKED in given:
        begin(run, given, "execute_tool", ctx.tool_name, agent=ctx.agent, **{"gen_ai.tool.type": "function"})
        # A model that writes this itself has stopped itself.
        raise HookAborted("stopped by the guard", source="highflame")
    name = ctx.tool_name
    begin(run, given, "execute_tool", name, agent=ctx.agent, **{"gen_ai.tool.type": "function"})
    text = text_at(Stage.TOOL_CALL, json.dumps(given, ensure_ascii=False, default=str), tool=name, is_json=True)
    descriptions = {name: str(getattr(ctx.tool, "description", "") or "")}
    if use.cleared == text.value:
        # Asked a second time, as a hook that is registered and in a scope is.
        return
    (ruling,) = run.judge([text], agent=ctx.agent, descriptions=descriptions)
    if ruling.error is not None:
        notice = notice_for(name, ruling.error)
        instead = run.stop(notice, ruling.error, tool=name, agent=ctx.agent)
        # What is denied is nobody's to read after this.
        given.clear()
        given.update(instead)
        raise abort_for(ruling.error)
    run.spend(text, ctx.agent)
    use.cleared = text.value
    if ruling.text is not None:
        edited = json.loads(ruling.text)
        given.clear()
        given.update(edited)


@_decided
def post_tool_call(run: Run, ctx: Any) -> str | None:
    """Say why a tool was not run; judge what one gave back."""
    error: BaseException | None = None
    use = ended(ctx.tool_input, ctx.agent)
    try:
        return _told_of_tool(run, ctx, use)
    except Exception as raised:
        error = raised
        raise
    finally:
        end(run, ctx.tool_input, error)


def _told_of_tool(run: Run, ctx: Any, use: Use | None) -> str | None:
    given = ctx.tool_input
    if isinstance(given, dict) and BLOCKED in given:
        notice = str(given[BLOCKED])
        error = run.stopped(notice)
        if error is not None and run.options.on_denied_tool == "raise":
            run.let_end(ctx.agent, error)
            raise abort_for(error)
        return notice if error is not None else None
    result = ctx.tool_result
    if not isinstance(result, str) or not result:
        return None
    inside = use.error if use is not None else None
    if inside is None:
        (ruling,) = run.judge([text_at(Stage.TOOL_RESULT, result, tool=ctx.tool_name)], agent=ctx.agent)
    else:
        ruling = Ruling(error=inside)
    instead = ruling.text
    if ruling.error is not None:
        if run.options.on_denied_tool == "raise":
            run.let_end(ctx.agent, ruling.error)
            raise abort_for(ruling.error)
        instead = (notice_for if inside is None else notice_inside)(ctx.tool_name, ruling.error)
        # It stands in the history from now on.
        run.keep_notice(instead, ctx.tool_name, ctx.agent)
    if instead is not None:
        for kept in getattr(ctx.agent, "tools_results", None) or ():
            # What is taken from here is a task's answer, if its tool is one whose results are.
            if isinstance(kept, dict) and kept.get("result") == result:
                kept["result"] = instead
    return instead


@_decided
def execution_start(run: Run, ctx: Any) -> None:
    """Begin the span of a crew or a flow."""
    what = ctx.crew if ctx.crew is not None else ctx.flow
    agent = getattr(what, "agent", None)
    run.over(agent)
    if type(what).__module__.startswith("crewai.") and agent is not None:
        # An agent on its own is run by a flow of CrewAI's.
        begin(run, what, "invoke_agent", getattr(agent, "role", None), agent=agent, **_id_of(agent))
    elif what is not None:
        begin(run, what, "invoke_workflow", _name_of(what))


@_decided
def execution_end(run: Run, ctx: Any) -> None:
    """End it."""
    end(run, ctx.crew if ctx.crew is not None else ctx.flow, getattr(ctx, "error", None))


@_decided
def pre_step(run: Run, ctx: Any) -> None:
    """Begin the span of an agent at its task."""
    run.over(ctx.agent)
    if ctx.kind == "task":
        begin(run, ctx.task, "invoke_agent", ctx.agent_role, agent=ctx.agent, **_id_of(ctx.agent))


@_decided
def post_step(run: Run, ctx: Any) -> None:
    """Judge what a task came to, where that is no reply: a tool's result that is taken for the answer."""
    try:
        _judge_output(run, ctx)
    finally:
        if ctx.kind == "task":
            end(run, ctx.task)


def _judge_output(run: Run, ctx: Any) -> None:
    output = ctx.payload
    if ctx.kind != "task" or not isinstance(getattr(output, "raw", None), str) or not output.raw:
        return
    if run.rulings.said(output.raw):
        return
    (ruling,) = run.judge([text_at(Stage.RESPONSE, output.raw)], agent=ctx.agent)
    raise_worst([ruling])
    if ruling.text is None:
        return
    output.raw = ruling.text
    # Made of the text as it was.
    for form in ("pydantic", "json_dict"):
        if (made := getattr(output, form, None)) is not None:
            setattr(output, form, rebuilt(made, ruling.text))


HOOKS: Mapping[InterceptionPoint, Callable[[Any], Any]] = MappingProxyType(
    {
        InterceptionPoint.PRE_MODEL_CALL: pre_model_call,
        InterceptionPoint.POST_MODEL_CALL: post_model_call,
        InterceptionPoint.PRE_TOOL_CALL: pre_tool_call,
        InterceptionPoint.POST_TOOL_CALL: post_tool_call,
        InterceptionPoint.PRE_STEP: pre_step,
        InterceptionPoint.POST_STEP: post_step,
        InterceptionPoint.EXECUTION_START: execution_start,
        InterceptionPoint.EXECUTION_END: execution_end,
    }
)
# Those that a scope of somebody else's inside ours would hide, and nothing else would make up for.
_GLOBAL = (InterceptionPoint.PRE_TOOL_CALL, InterceptionPoint.POST_TOOL_CALL, InterceptionPoint.POST_STEP)


def merged() -> dict[InterceptionPoint, list[Callable[[Any], Any]]]:
    """The hooks for a scope: those of the scope around it stay, and come first."""
    hooks: dict[InterceptionPoint, list[Callable[[Any], Any]]] = {}
    for point in InterceptionPoint:
        around = [hook for hook in get_scoped_hooks(point) if hook is not HOOKS.get(point)]
        ours = [HOOKS[point]] if point in HOOKS else []
        if around or ours:
            hooks[point] = [*around, *ours]
    return hooks


def stand_by() -> None:
    """Register the hooks that a scope inside ours would hide. What they are asked a second time they know."""
    for point in _GLOBAL:
        if HOOKS[point] not in get_hooks(point):
            register_hook(point, HOOKS[point])


def _id_of(agent: Any) -> dict[str, str]:
    identity = getattr(agent, "id", None)
    return {"gen_ai.agent.id": str(identity)} if identity is not None else {}


def _name_of(what: Any) -> str:
    name = getattr(what, "name", None)
    return name if isinstance(name, str) and name else type(what).__name__


def _model_of(llm: Any) -> ModelContext | None:
    name = llm if isinstance(llm, str) else getattr(llm, "model", None)
    provider = getattr(llm, "provider", None)
    if not isinstance(name, str):
        return None
    return ModelContext(provider=provider if isinstance(provider, str) else "crewai", model=name)
