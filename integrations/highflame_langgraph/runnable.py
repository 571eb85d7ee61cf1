"""The guard as a step of a chain: ``prompt | GuardRunnable("prompt") | llm | GuardRunnable("response")``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from highflame_middleware import ConfigError, HighflameError, ModelContext, Settings, Stage
from highflame_middleware.checkpoint import Checkpoint, Flow, text_at, worst
from highflame_middleware.codecs.parts import leaves, rewrite

from .blocked import bubbling
from .replies import Marking, ReplyStream
from .texts import in_history, judged
from .who import caller_of

__all__ = ["GuardRunnable"]


class GuardRunnable(Runnable[Any, Any]):
    """Judges what goes through a chain at one place, and hands on what the guard leaves of it.

    ``stage`` is that of texts that are no messages: ``prompt``, ``response``, ``tool_call`` or ``tool_result``.
    Strings, messages, prompts, and strings in dicts and lists are judged; a stream of strings or of a reply's
    chunks is let go as far as it is cleared. What is stopped is raised: `with_retry` and `with_fallbacks` catch
    all errors, unless they are told which (``exceptions_to_handle``).

    >>> chain = GuardRunnable(gateway=None) | str.upper
    >>> chain.invoke("My SSN is 536-22-8726")
    'MY SSN IS [REDACTED:SSN]'
    """

    def __init__(self, stage: str = "prompt", settings: Settings | None = None, **options: Any) -> None:
        if stage not in list(Stage):
            raise ConfigError(f"stage={stage!r} is unknown: use one of {', '.join(Stage)}")
        self._stage = Stage(stage)
        self._checkpoint = Checkpoint(settings, name="langchain", **options)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **given: Any) -> Any:  # noqa: A002, ARG002
        """What the guard leaves of a value."""
        return self._call_with_config(self._invoke, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **given: Any) -> Any:  # noqa: A002, ARG002
        """`invoke`."""
        return await self._acall_with_config(self._ainvoke, input, config)

    def transform(self, input: Iterator[Any], config: RunnableConfig | None = None, **given: Any) -> Iterator[Any]:  # noqa: A002
        """What the guard leaves of a stream."""
        yield from self._transform_stream_with_config(input, self._transform, config, **given)

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **given: Any,
    ) -> AsyncIterator[Any]:
        """`transform`."""
        async for one in self._atransform_stream_with_config(input, self._atransform, config, **given):
            yield one

    def _invoke(self, value: Any) -> Any:
        return self._checkpoint.run(self._judged(value))

    async def _ainvoke(self, value: Any) -> Any:
        return await self._checkpoint.arun(self._judged(value))

    def _transform(self, source: Iterator[Any]) -> Iterator[Any]:
        passing = _Passing(self)
        for item in source:
            yield from self._checkpoint.run(passing.feeding(item))
        yield from self._checkpoint.run(passing.ending())

    async def _atransform(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        passing = _Passing(self)
        async for item in source:
            for one in await self._checkpoint.arun(passing.feeding(item)):
                yield one
        for one in await self._checkpoint.arun(passing.ending()):
            yield one

    def _judged(self, value: Any) -> Flow[Any]:
        sent = self._stage in (Stage.PROMPT, Stage.TOOL_RESULT)
        about: dict[str, Any] = {"caller": caller_of(ensure_config()), "sent": sent, "once": True}
        if isinstance(value, BaseMessage):
            return (yield from self._messages([value], about))[0]
        if isinstance(value, ChatPromptValue):
            return ChatPromptValue(messages=(yield from self._messages(list(value.messages), about)))
        if isinstance(value, StringPromptValue):
            return StringPromptValue(text=(yield from self._judged(value.text)))
        if isinstance(value, PromptValue):
            return ChatPromptValue(messages=(yield from self._messages(value.to_messages(), about)))
        if isinstance(value, list) and value and all(isinstance(one, BaseMessage) for one in value):
            return (yield from self._messages(value, about))
        places = [(path, text) for path, text in leaves([value], (), frozenset()) if text]
        texts = [text_at(self._stage, text) for _, text in places]
        rulings = yield from self._checkpoint.judging(texts, **about)
        if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
            raise bubbling(error)
        changes = {
            path: ruling.text for (path, _), ruling in zip(places, rulings, strict=True) if ruling.text is not None
        }
        return rewrite([value], changes)[0] if changes else value

    def _messages(self, messages: list[BaseMessage], about: dict[str, Any]) -> Flow[list[Any]]:
        judgements = yield from judged(self._checkpoint, messages, **about)
        found = [in_history(one, messages) for one in judgements]
        if error := worst([one.error for one in found if one.error is not None]):
            raise bubbling(error)
        return [one.message for one in found]


class _Passing:
    """A stream through a chain: strings are one text, chunks one reply, anything else is judged whole."""

    def __init__(self, runnable: GuardRunnable) -> None:
        self._runnable = runnable
        self._checkpoint, self._stage = runnable._checkpoint, runnable._stage  # noqa: SLF001 - a part of it
        self._caller = caller_of(ensure_config())
        self._text: Any = None
        self._reply: ReplyStream | None = None
        self._whole: list[Any] = []

    def feeding(self, item: Any) -> Flow[list[Any]]:
        if isinstance(item, str):
            if self._text is None:
                self._text = self._checkpoint.growing(self._stage, caller=self._caller)
            try:
                ready = yield from self._text.feeding(item)
            except HighflameError as error:
                raise bubbling(error) from None
            return [ready] if ready else []
        if isinstance(item, AIMessageChunk):
            if self._reply is None:
                self._reply = ReplyStream(
                    self._checkpoint, marking=Marking(), caller=self._caller, model=ModelContext()
                )
            ready = yield from self._reply.feeding(ChatGenerationChunk(message=item))
            return [one.message for one in ready]
        self._whole.append(item)
        return []

    def ending(self) -> Flow[list[Any]]:
        out: list[Any] = []
        if self._text is not None:
            try:
                ready = yield from self._text.ending()
            except HighflameError as error:
                raise bubbling(error) from None
            out += [ready] if ready else []
        if self._reply is not None:
            out += [one.message for one in (yield from self._reply.ending())]
        if self._whole:
            whole = self._whole[0]
            for item in self._whole[1:]:
                try:
                    whole = whole + item
                except TypeError:
                    whole = item
            out.append((yield from self._runnable._judged(whole)))  # noqa: SLF001
        return out
