"""A chat model that guards itself: whatever asks it, and however its reply is streamed.

The model stays what it is (class, name, settings): a copy of it, of a class made
from its own, whose four methods that reach the provider judge what goes in and what
comes out. That is below LangChain's streams, so none of them sees what was not cleared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)

from highflame_middleware import CallContext, ConfigError, ModelContext, Settings, Stage
from highflame_middleware.activities import Activity, instrumented
from highflame_middleware.checkpoint import Checkpoint, Flow, text_at, worst
from highflame_middleware.codecs.parts import rewrite
from highflame_middleware.exchange import COVERED

from .blocked import bubbling
from .doors import checkpoint_of
from .headers import headers_for_call
from .replies import Marking, ReplyStream, result_judged
from .texts import descriptions_of, in_history, instructions_of, judged, tools_of
from .who import caller_of, model_of

__all__ = ["GuardedModel", "guarded_model", "is_guarded", "with_checkpoint"]

M = TypeVar("M", bound=Runnable[Any, Any])

# What of the arguments of a call is said to the model.
_TOLD = ("tools", "functions", "response_format", "response_schema", "response_json_schema", "output_config")
_KEPT = "_highflame"

_classes: dict[type, type] = {}
_lock = Lock()


def guarded_model(model: M, settings: Settings | None = None, **options: Any) -> M:
    """The model, guarding what it is sent and what it says: prompts, descriptions of tools, replies, tool calls.

    ``model`` is a chat model, or a binding, sequence or list of fallbacks around some. ``options`` are those of
    `Settings`. A verdict that stops is raised, as a `BlockedError` that no retry or fallback of an agent swallows.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> llm = guarded_model(FakeListChatModel(responses=["Card 4111 1111 1111 1111"]), gateway=None)
    >>> llm.invoke("Which card?").content, isinstance(llm, FakeListChatModel)
    ('Card [REDACTED:credit_card]', True)
    """
    guarded: M = with_checkpoint(model, checkpoint_of(settings, options))
    return guarded


def with_checkpoint(
    model: Any,
    checkpoint: Checkpoint,
    *,
    marking: Marking | None = None,
    known: Callable[[BaseMessage], bool] | None = None,
) -> Any:
    """`guarded_model` by a checkpoint; ``marking`` says which stopped calls are marked on the reply, not raised.

    ``known`` messages have been judged, and not changed since.
    """
    return _guarded(model, GuardedModel(checkpoint, marking=marking, known=known))


def _kept_by(model: Any, kept: GuardedModel) -> GuardedModel:
    """What a model is to keep: one that has its own gateway goes on being asked there."""
    before = model.__dict__.get(_KEPT)
    return kept.routed(before.routing) if isinstance(before, GuardedModel) else kept


def is_guarded(model: Any) -> bool:
    """Whether a model guards itself."""
    return isinstance(getattr(model, "__dict__", {}).get(_KEPT), GuardedModel)


def _guarded(model: Any, kept: GuardedModel) -> Any:
    if isinstance(model, BaseChatModel):
        copy = model.model_copy()
        object.__setattr__(copy, "__class__", _class_of(type(model)))
        copy.__dict__[_KEPT] = _kept_by(model, kept)
        return copy
    if isinstance(model, RunnableBinding):
        return model.model_copy(update={"bound": _guarded(model.bound, kept)})
    if isinstance(model, RunnableWithFallbacks):
        fallbacks = [_guarded(one, kept) for one in model.fallbacks]
        return model.model_copy(update={"runnable": _guarded(model.runnable, kept), "fallbacks": fallbacks})
    if isinstance(model, RunnableSequence):
        return RunnableSequence(*(_in(step, kept) for step in model.steps), name=model.name)
    if isinstance(model, RunnableParallel):
        return RunnableParallel({name: _in(step, kept) for name, step in model.steps__.items()})
    if type(model).__name__ == "_ConfigurableModel":
        return _configurable(model, kept)
    raise ConfigError(
        f"guarded_model() was given {type(model).__name__}: give a chat model, or a binding, sequence or fallbacks "
        "around chat models"
    )


def _in(step: Any, kept: GuardedModel) -> Any:
    return _guarded(step, kept) if _has_model(step) else step


def _has_model(step: Any) -> bool:
    if isinstance(step, RunnableParallel):
        return any(map(_has_model, step.steps__.values()))
    if isinstance(step, RunnableSequence):
        return any(map(_has_model, step.steps))
    inner = getattr(step, "bound", None) or getattr(step, "runnable", None)
    return isinstance(step, BaseChatModel) or (inner is not None and _has_model(inner))


def _configurable(model: Any, kept: GuardedModel) -> Any:
    """`init_chat_model`'s model whose class is only known with the configuration of a call."""
    base = type(model)

    class Configurable(base):  # type: ignore[misc, valid-type]
        def _model(self, config: Any = None) -> Any:
            return _guarded(super()._model(config), kept)

        # These give another such model, by the name of its class.

        def bind_tools(self, *given: Any, **named: Any) -> Any:
            return _configurable(base.__getattr__(self, "bind_tools")(*given, **named), kept)

        def with_structured_output(self, *given: Any, **named: Any) -> Any:
            return _configurable(base.__getattr__(self, "with_structured_output")(*given, **named), kept)

        def with_config(self, *given: Any, **named: Any) -> Any:
            return _configurable(super().with_config(*given, **named), kept)

    guarded = object.__new__(Configurable)
    guarded.__dict__.update(model.__dict__)
    return guarded


class GuardedModel:
    """What a guarded model knows besides the model: by what it judges, and how it says that a call was stopped."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        marking: Marking | None = None,
        known: Callable[[BaseMessage], bool] | None = None,
        routing: Settings | None = None,
    ) -> None:
        self.checkpoint, self.marking, self._known = checkpoint, marking or Marking(), known
        self.routing = routing or checkpoint.settings

    def routed(self, routing: Settings) -> GuardedModel:
        """The same, by the settings of another gateway, unless there is none."""
        if routing.gateway is None:
            return self
        return GuardedModel(self.checkpoint, marking=self.marking, known=self._known, routing=routing)

    def __deepcopy__(self, memo: Any) -> GuardedModel:
        return self

    def prompt(
        self, messages: list[BaseMessage], given: dict[str, Any], caller: CallContext, model: ModelContext
    ) -> Flow[tuple[list[BaseMessage], dict[str, Any]]]:
        """What is sent: messages and descriptions of tools, as the guard leaves them; raises where it says no."""
        told = {name: given[name] for name in _TOLD if isinstance(given.get(name), dict | list)}
        described = [*descriptions_of(told), *instructions_of(given)]
        texts = [text_at(Stage.PROMPT, value, role="system") for _, value in described]
        about: dict[str, Any] = {"caller": caller, "model": model, "sent": True, "once": True}
        rulings = yield from self.checkpoint.judging(texts, **about)
        known = self._known
        new = [message for message in messages if known is None or not known(message)]
        judgements = yield from judged(self.checkpoint, new, **about)
        found = [in_history(one, messages) for one in judgements]
        errors = [*(ruling.error for ruling in rulings), *(one.error for one in found)]
        if error := worst([error for error in errors if error is not None]):
            raise bubbling(error)
        changes = {
            path: ruling.text
            for (path, _), ruling in zip(described, rulings, strict=True)
            if ruling.text is not None
        }
        given = rewrite(given, changes)
        edited = {id(old): one.message for old, one in zip(new, found, strict=True)}
        return [edited.get(id(message), message) for message in messages], given

    def stream(self, caller: CallContext, model: ModelContext, given: dict[str, Any]) -> ReplyStream:
        """The reply that is about to come in chunks."""
        about: dict[str, Any] = {"caller": caller, "model": model, "tools": tools_of(given)}
        return ReplyStream(self.checkpoint, marking=self.marking, **about)

    def result(
        self, result: ChatResult, caller: CallContext, model: ModelContext, given: dict[str, Any]
    ) -> Flow[ChatResult]:
        """The reply that has come."""
        about: dict[str, Any] = {"caller": caller, "model": model, "tools": tools_of(given)}
        return result_judged(self.checkpoint, result, marking=self.marking, **about)

    def call(self, messages: list[BaseMessage]) -> _Call | None:
        """The call that another of the model's methods is making with these very messages."""
        call = _under_way.get()
        return call if call is not None and call.kept is self and call.messages is messages else None

    @contextmanager
    def asking(self, model: Any, about: ModelContext, caller: CallContext) -> Iterator[_Asking]:
        """Around a call of the provider, which is recorded where no seam below does that."""
        asking = _Asking(self, model, about, caller)
        try:
            yield asking
        except BaseException as error:
            asking.end(error)
            raise
        else:
            asking.end()


class _Call:
    """A call on its way through methods of one model: the outermost judges what goes in, the innermost the reply.

    ``replied`` turns true when that was done; it stays false where a cache has answered.
    """

    __slots__ = ("kept", "messages", "replied")

    def __init__(self, kept: GuardedModel, messages: list[BaseMessage]) -> None:
        self.kept, self.messages, self.replied = kept, messages, False


_under_way: ContextVar[_Call | None] = ContextVar("highflame_langgraph_call", default=None)


@contextmanager
def _making(call: _Call) -> Iterator[None]:
    token = _under_way.set(call)
    try:
        yield
    finally:
        _under_way.reset(token)


class _Asking:
    """One call of the provider: its span, and the word that it need not be judged again below."""

    def __init__(self, kept: GuardedModel, model: Any, about: ModelContext, caller: CallContext) -> None:
        self._checkpoint = kept.checkpoint
        self._activity: Activity | None = None
        self._headers: dict[str, str] = {}
        if COVERED.get() is kept.checkpoint.policy:
            # Inside another of its methods, which has done all this.
            return
        if not instrumented():
            provider: dict[str, Any] = {"gen_ai.provider.name": about.provider or "unknown"}
            quiet = kept.checkpoint.quiet
            self._activity = Activity("chat", about.model, caller=caller, quiet=quiet, **provider)
        span = self._activity.span if self._activity is not None else None
        self._headers = headers_for_call(model, kept.routing, caller, span)

    def told(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the call, with what its gateway is told."""
        if not self._headers:
            return given
        return {**given, "extra_headers": {**self._headers, **(given.get("extra_headers") or {})}}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Around a step of the call; never across a ``yield`` to the user."""
        with self._checkpoint.covering():
            if self._activity is None:
                yield
            else:
                with self._activity.attached():
                    yield

    def note(self, message: Any) -> None:
        """What a reply says of its cost."""
        usage = getattr(message, "usage_metadata", None)
        if self._activity is not None and usage:
            self._activity.note(
                **{
                    "gen_ai.usage.input_tokens": usage.get("input_tokens"),
                    "gen_ai.usage.output_tokens": usage.get("output_tokens"),
                }
            )

    def end(self, error: BaseException | None = None) -> None:
        if self._activity is not None:
            self._activity.end(error, quiet=(GeneratorExit,))


def _class_of(base: type) -> type:
    """The guarding class of a class of models. There is one for each, for as long as the process lives."""
    with _lock:
        if base not in _classes:
            _classes[base] = base if issubclass(base, _Marker) else _made(base)
        return _classes[base]


class _Marker:
    """A class that guards."""


def _made(base: Any) -> type:  # noqa: PLR0915 - eight methods, in one place
    """A class like ``base`` that guards; it overrides what ``base`` has, and nothing that it has not."""

    def kept(self: Any) -> GuardedModel:
        found: GuardedModel = self.__dict__.get(_KEPT) or getattr(type(self), _KEPT)
        return found

    def configurable_fields(self: Any, **given: Any) -> Any:
        # It makes models anew, of the class and the fields alone: so this class knows what else there is.
        cls = type(self)
        metaclass: Any = type(cls)
        own = metaclass(cls.__name__, (cls,), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})
        setattr(own, _KEPT, kept(self))
        copy = self.model_copy()
        object.__setattr__(copy, "__class__", own)
        return base.configurable_fields(copy, **given)

    def _generate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any
    ) -> Any:
        # Above LangChain's cache, which may hold what somebody else's model said.
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run = guard.checkpoint.run
        messages, given = run(guard.prompt(messages, given, caller, model))
        with _making(call := _Call(guard, messages)):
            result = base._generate_with_cache(self, messages, stop=stop, run_manager=run_manager, **given)
        return result if call.replied else run(guard.result(result, caller, model, given))

    async def _agenerate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any
    ) -> Any:
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run = guard.checkpoint.arun
        messages, given = await run(guard.prompt(messages, given, caller, model))
        with _making(call := _Call(guard, messages)):
            result = await base._agenerate_with_cache(self, messages, stop=stop, run_manager=run_manager, **given)
        return result if call.replied else await run(guard.result(result, caller, model, given))

    # No run manager goes further down: a provider's class tells it each token before anybody has judged that.

    def _generate(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run, outer = guard.checkpoint.run, guard.call(messages)
        if outer is None:
            messages, given = run(guard.prompt(messages, given, caller, model))
        with guard.asking(self, model, caller) as asking:
            with asking.on(), _making(call := _Call(guard, messages)):
                result = base._generate(self, messages, stop=stop, **asking.told(given))
            asking.note(result.generations[0].message if result.generations else None)
            if not call.replied:
                result = run(guard.result(result, caller, model, given))
        if outer is not None:
            outer.replied = True
        return result

    async def _agenerate(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run, outer = guard.checkpoint.arun, guard.call(messages)
        if outer is None:
            messages, given = await run(guard.prompt(messages, given, caller, model))
        with guard.asking(self, model, caller) as asking:
            with asking.on(), _making(call := _Call(guard, messages)):
                result = await base._agenerate(self, messages, stop=stop, **asking.told(given))
            asking.note(result.generations[0].message if result.generations else None)
            if not call.replied:
                result = await run(guard.result(result, caller, model, given))
        if outer is not None:
            outer.replied = True
        return result

    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any
    ) -> Iterator[ChatGenerationChunk]:
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run, outer = guard.checkpoint.run, guard.call(messages)
        if outer is None:
            messages, given = run(guard.prompt(messages, given, caller, model))
        reply, call = guard.stream(caller, model, given), _Call(guard, messages)
        with guard.asking(self, model, caller) as asking:
            source = base._stream(self, messages, stop=stop, **asking.told(given))
            try:
                while True:
                    with asking.on(), _making(call):
                        chunk = next(source, None)
                    if chunk is not None:
                        asking.note(chunk.message)
                    for ready in run(reply.feeding(chunk) if chunk is not None else reply.ending()):
                        if run_manager:
                            run_manager.on_llm_new_token(ready.text, chunk=ready)
                        yield ready
                    if chunk is None:
                        break
            finally:
                getattr(source, "close", _nothing)()
        if outer is not None:
            outer.replied = True

    async def _astream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        guard, caller, model = kept(self), _caller(run_manager), model_of(self)
        run, outer = guard.checkpoint.arun, guard.call(messages)
        if outer is None:
            messages, given = await run(guard.prompt(messages, given, caller, model))
        reply, call = guard.stream(caller, model, given), _Call(guard, messages)
        with guard.asking(self, model, caller) as asking:
            source = base._astream(self, messages, stop=stop, **asking.told(given))
            try:
                while True:
                    with asking.on(), _making(call):
                        chunk = await anext(source, None)
                    if chunk is not None:
                        asking.note(chunk.message)
                    for ready in await run(reply.feeding(chunk) if chunk is not None else reply.ending()):
                        if run_manager:
                            await run_manager.on_llm_new_token(ready.text, chunk=ready)
                        yield ready
                    if chunk is None:
                        break
            finally:
                if (close := getattr(source, "aclose", None)) is not None:
                    await close()
        if outer is not None:
            outer.replied = True

    found: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_generate_with_cache": _generate_with_cache,
        "_agenerate_with_cache": _agenerate_with_cache,
        "_generate": _generate,
        "configurable_fields": configurable_fields,
    }
    # What a class leaves to the base class falls back on what is guarded; to override it would say that it streams.
    for name, method in (("_agenerate", _agenerate), ("_stream", _stream), ("_astream", _astream)):
        if getattr(base, name) is not getattr(BaseChatModel, name):
            found[name] = method
    made: type = type(base)(base.__name__, (_Marker, base), found)
    # Another way to stream, past those above: without it LangChain makes its events of the chunks.
    for name in ("_stream_chat_model_events", "_astream_chat_model_events"):
        if getattr(base, name, None) is not None:
            setattr(made, name, None)
    return made


def _caller(run_manager: Any) -> CallContext:
    """The caller of the run that a model is asked in."""
    metadata = getattr(run_manager, "metadata", None)
    caller = caller_of()
    if caller.session is None and isinstance(metadata, dict):
        return caller_of({"metadata": metadata})
    return caller


def _nothing() -> None:
    """There is nothing to close."""
