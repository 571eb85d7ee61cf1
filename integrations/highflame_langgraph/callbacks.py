"""A callback handler that only looks on: what the guard would have said, and the spans of a run.

Callbacks come too late to stop a token and must not touch what they are shown, so this one does neither.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, ToolMessage
from langgraph.errors import GraphBubbleUp

from highflame_middleware import HighflameError, Mode, Settings, Stage
from highflame_middleware.activities import Activity, instrumented
from highflame_middleware.checkpoint import Checkpoint, rendered, text_at
from highflame_middleware.exchange import COVERED

from .texts import texts_of
from .who import caller_of

__all__ = ["HighflameCallbackHandler"]

_MAX_RUNS = 10_000


class HighflameCallbackHandler(BaseCallbackHandler):
    """Reports on any runnable: decisions of the guard as events, and spans of workflows, agents, models and tools.

    Pass it in ``config={"callbacks": […]}``, beside nothing else of ours: what guards reports by itself.
    ``options`` are those of `Settings`; its mode is ``monitor``, or ``alert`` where that is asked for.
    ``spans=False`` leaves the spans to others. Runs that go on at once are kept apart by their ids.
    """

    run_inline = True

    def __init__(self, settings: Settings | None = None, *, spans: bool = True, **options: Any) -> None:
        found = settings.with_changes(**options) if settings is not None else Settings.load(**options)
        mode = found.mode if found.mode is Mode.ALERT else Mode.MONITOR
        self._checkpoint = Checkpoint(found.with_changes(mode=mode), name="langchain")
        self._spans = spans
        self._runs: OrderedDict[UUID, tuple[Activity | None, Activity | None]] = OrderedDict()
        self._lock = Lock()

    # --- runs --------------------------------------------------------------------------------------------------

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **about: Any) -> None:  # noqa: ARG002
        """A chain, graph or node begins: the outermost is a span."""
        parent, metadata = about.get("parent_run_id"), about.get("metadata") or {}
        if parent is not None:
            self._began(run_id, parent, None)
            return
        agent = metadata.get("lc_agent_name")
        operation = "invoke_agent" if agent else "invoke_workflow"
        self._began(run_id, None, (operation, agent or about.get("name"), metadata, {}))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **about: Any) -> None:  # noqa: ARG002
        """It is over."""
        self._ended(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **about: Any) -> None:  # noqa: ARG002
        """It broke off."""
        self._ended(run_id, error)

    def on_chat_model_start(
        self,
        serialized: Any,  # noqa: ARG002
        messages: Sequence[Sequence[BaseMessage]],
        *,
        run_id: UUID,
        **about: Any,
    ) -> None:
        """A model is asked: its messages are judged, each once."""
        metadata = about.get("metadata") or {}
        self._judge(metadata, [text for batch in messages for one in batch for text in texts_of(one)], sent=True)
        named = None
        if not instrumented():
            provider = {"gen_ai.provider.name": metadata.get("ls_provider") or "unknown"}
            named = ("chat", metadata.get("ls_model_name"), metadata, provider)
        self._began(run_id, about.get("parent_run_id"), named)

    def on_llm_end(self, response: Any, *, run_id: UUID, **about: Any) -> None:
        """A model has answered."""
        texts = []
        for generation in (one for batch in response.generations for one in batch):
            if isinstance(message := getattr(generation, "message", None), BaseMessage):
                texts += texts_of(message)
            elif generation.text:
                texts.append(text_at(Stage.RESPONSE, generation.text))
        self._judge(about.get("metadata") or {}, texts, sent=False)
        self._ended(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **about: Any) -> None:  # noqa: ARG002
        """It has not."""
        self._ended(run_id, error)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **about: Any) -> None:
        """A tool is run."""
        metadata, name = about.get("metadata") or {}, (serialized or {}).get("name")
        inputs = about.get("inputs")
        value = rendered(inputs) if isinstance(inputs, dict) else input_str
        self._judge(
            metadata, [text_at(Stage.TOOL_CALL, value, tool=name, is_json=isinstance(inputs, dict))], sent=False
        )
        call = {"gen_ai.tool.call.id": about.get("tool_call_id"), "gen_ai.tool.type": "function"}
        self._began(run_id, about.get("parent_run_id"), ("execute_tool", name, metadata, call))

    def on_tool_end(self, output: Any, *, run_id: UUID, **about: Any) -> None:
        """It gave something back."""
        texts = (
            texts_of(output)
            if isinstance(output, ToolMessage)
            else [text_at(Stage.TOOL_RESULT, rendered(output), tool=about.get("name"))]
        )
        self._judge(about.get("metadata") or {}, texts, sent=True)
        self._ended(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **about: Any) -> None:  # noqa: ARG002
        """It broke off."""
        self._ended(run_id, error)

    # --- what they do ------------------------------------------------------------------------------------------

    def _judge(self, metadata: Any, texts: Any, *, sent: bool) -> None:
        if COVERED.get() is None:
            caller = caller_of({"metadata": metadata}) if metadata else caller_of()
            self._checkpoint.judge([text for text in texts if text.value], caller=caller, sent=sent, once=True)

    def _began(self, run_id: UUID, parent: UUID | None, named: Any) -> None:
        """Note a run, and begin its span if it is to have one (``named``), under the nearest one above it."""
        with self._lock:
            above = self._runs.get(parent, (None, None))[1] if parent is not None else None
        own = None
        if named is not None and self._spans:
            operation, name, metadata, more = named
            span = above.span if above is not None else None
            own = Activity(operation, name, caller=caller_of({"metadata": metadata}), parent=span, **more)
        with self._lock:
            self._runs[run_id] = (own, own or above)
            while len(self._runs) > _MAX_RUNS:
                _, (oldest, _) = self._runs.popitem(last=False)
                if oldest is not None:
                    oldest.end()

    def _ended(self, run_id: UUID, error: BaseException | None = None) -> None:
        with self._lock:
            own, _ = self._runs.pop(run_id, (None, None))
        if own is not None:
            # An interrupt is no fault; a block is.
            quiet = error is not None and isinstance(error, GraphBubbleUp) and not isinstance(error, HighflameError)
            own.end(None if quiet else error)
