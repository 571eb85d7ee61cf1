"""Proof that the installed CrewAI enforces a denial, made once in a process, without a network or a record.

A guard that denies everything is put before a model and a tool of nobody's, and each point is tried on which the
adapter rests. What a version does otherwise is found here, and not by the first denied prompt that is sent.
"""

from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Lock
from types import MappingProxyType, SimpleNamespace
from typing import Any

from highflame_middleware import HighflameError, Settings, UnprovenError
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Mode, Stage

from .versions import require_crewai

__all__ = ["prove", "self_test"]

_log = logging.getLogger("highflame_crewai")
_lock = Lock()
_found: Mapping[str, bool] | None = None
_WORD = "a text that is to be stopped"


class _Denying:
    """Denies what stands at one stage."""

    name = "self-test"
    local = True

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """No, at that stage."""
        denied = request.stage is self._stage
        return GuardResponse(decision=Decision.DENY if denied else Decision.ALLOW, policy_reason="self-test")


def self_test() -> Mapping[str, bool]:
    """Try on the installed CrewAI whether a denial is enforced; by point, whether it was.

    The points: prompts, replies, calls of tools in replies, each of ``call`` and ``acall``; pieces of a stream; an
    agent's prompts; tools and their results. Takes milliseconds, beside CrewAI's own import.
    """
    require_crewai()
    from .seams import installed  # noqa: PLC0415

    installed()
    # In a context of its own: nothing of the caller's has a part in it.
    return MappingProxyType(contextvars.Context().run(_tried))


def prove(settings: Settings) -> None:
    """Raise an `UnprovenError` where a denial would not be enforced, or warn where the settings say so."""
    global _found
    with _lock:
        if _found is None:
            _found = self_test()
        failed = [point for point, held in _found.items() if not held]
    if not failed:
        return
    choice = settings.on_unproven
    if isinstance(choice, Mapping):
        choice = choice.get("crewai")
    said = f"the installed crewai does not enforce a denial here: {', '.join(failed)}"
    if choice == "refuse" or (choice is None and settings.mode.blocks):
        raise UnprovenError(f"{said}. Use another version of it, or set on_unproven='warn' to go on as it is")
    _log.warning("%s", said)


def _tried() -> dict[str, bool]:
    return {point: _holds(trial) for point, trial in _trials()}


def _holds(trial: Callable[[], bool]) -> bool:
    try:
        return trial()
    except Exception as error:  # noqa: BLE001 - a version on which this cannot be tried is not proven
        _log.debug("the self-test broke: %s", type(error).__name__, exc_info=error)
        return False


def _trials() -> Iterator[tuple[str, Callable[[], bool]]]:
    for way in ("call", "acall"):
        yield f"{way}: prompt", partial(_stops, way, Stage.PROMPT, _WORD, asked=0)
        yield f"{way}: reply", partial(_stops, way, Stage.RESPONSE, _WORD, asked=1)
        yield f"{way}: tool call", partial(_stops, way, Stage.TOOL_CALL, [_called()], asked=1)
        yield f"{way}: stream", partial(_holds_back, way)
    yield "agent: prompt", _agent_stops
    yield "tool call", _tool_stops
    yield "tool result", _result_is_withheld
    yield "tool result: raise", _result_stops


def _called() -> dict[str, Any]:
    function = {"name": "probe", "arguments": json.dumps({"text": _WORD})}
    return {"id": "1", "type": "function", "function": function}


def _stops(way: str, stage: Stage, reply: Any, *, asked: int) -> bool:
    """Whether a model's call is stopped by this library's error, and how often it was made."""
    model = _model(reply)
    try:
        _call(model, way, stage)
    except HighflameError:
        return len(model.additional_params["asked"]) == asked
    return False


def _holds_back(way: str) -> bool:
    """Whether nothing of a denied reply reaches who listens to its stream."""
    from crewai.events.stream_context import add_stream_sink, reset_stream_sinks  # noqa: PLC0415

    heard: list[Any] = []
    token = add_stream_sink(lambda _, event: heard.append(getattr(event, "chunk", None)))
    try:
        return _stops(way, Stage.RESPONSE, _WORD, asked=1) and not any(heard)
    finally:
        reset_stream_sinks(token)


def _call(model: Any, way: str, stage: Stage) -> Any:
    with _inside(stage):
        if way == "call":
            return model.call(_WORD)
        coroutine = model.acall(_WORD)
        try:
            # Nothing in it waits for anything.
            coroutine.send(None)
        except StopIteration as ended:
            return ended.value
        finally:
            coroutine.close()
        return None


def _agent_stops() -> bool:
    from crewai.utilities.agent_utils import get_llm_response  # noqa: PLC0415
    from crewai_core.printer import PRINTER  # noqa: PLC0415

    model = _model("ok")
    messages = [{"role": "user", "content": _WORD}]
    executor: Any = SimpleNamespace(
        before_llm_call_hooks=[],
        after_llm_call_hooks=[],
        messages=messages,
        llm=model,
        iterations=0,
        agent=None,
        task=None,
        crew=None,
    )
    try:
        with _inside(Stage.PROMPT):
            get_llm_response(
                llm=model,
                messages=messages,
                callbacks=[],
                printer=PRINTER,
                executor_context=executor,
                verbose=False,
            )
    except HighflameError:
        return not model.additional_params["asked"]
    return False


def _tool_stops() -> bool:
    from crewai.hooks.tool_hooks import run_after_tool_call_hooks, run_before_tool_call_hooks  # noqa: PLC0415

    given = {"text": _WORD}
    with _inside(Stage.TOOL_CALL):
        blocked = run_before_tool_call_hooks(_tool(given))
        told = run_after_tool_call_hooks(_tool(given, "Tool execution blocked by hook. Tool: probe"))
    return blocked is True and "self-test" in str(told)


def _result_is_withheld() -> bool:
    from crewai.hooks.tool_hooks import run_after_tool_call_hooks  # noqa: PLC0415

    with _inside(Stage.TOOL_RESULT):
        told = run_after_tool_call_hooks(_tool({}, _WORD))
    return _WORD not in str(told) and "self-test" in str(told)


def _result_stops() -> bool:
    from crewai.hooks.tool_hooks import run_after_tool_call_hooks  # noqa: PLC0415

    try:
        with _inside(Stage.TOOL_RESULT, on_denied_tool="raise"):
            run_after_tool_call_hooks(_tool({}, _WORD))
    except HighflameError:
        return True
    return False


def _tool(given: dict[str, Any], result: str | None = None) -> Any:
    from crewai.hooks.tool_hooks import ToolCallHookContext  # noqa: PLC0415

    tool: Any = None
    return ToolCallHookContext(tool_name="probe", tool_input=given, tool=tool, tool_result=result)


def _inside(stage: Stage, **options: Any) -> Any:
    """A run whose guard denies what stands at one stage."""
    from highflame_middleware.checkpoint import Checkpoint  # noqa: PLC0415

    from .running import Options, Run  # noqa: PLC0415
    from .scope import entered  # noqa: PLC0415

    quiet = Settings(guard=_Denying(stage), gateway=None, mode=Mode.ENFORCE)
    return entered(Run(Options(checkpoint=Checkpoint(quiet, name="crewai", quiet=True), quiet=True, **options)))


def _model(reply: Any) -> Any:
    """A model of nobody's, which says what it is told to, in one piece."""
    from crewai.events.event_bus import crewai_event_bus  # noqa: PLC0415
    from crewai.events.types.llm_events import LLMStreamChunkEvent  # noqa: PLC0415
    from crewai.llms.base_llm import BaseLLM  # noqa: PLC0415

    def speak(model: Any, messages: Any) -> Any:
        model.additional_params["asked"].append(messages)
        if isinstance(reply, str):
            crewai_event_bus.emit(model, LLMStreamChunkEvent(chunk=reply, call_id="1"))
        return reply

    class Probe(BaseLLM):
        def call(self, messages: Any, *_: Any, **__: Any) -> Any:
            return speak(self, messages)

        async def acall(self, messages: Any, *_: Any, **__: Any) -> Any:
            return speak(self, messages)

    return Probe(model="probe", additional_params={"asked": []})
