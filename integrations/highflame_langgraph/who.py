"""Whom a run is for, from the context of this library and from LangChain's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_core.runnables.config import ensure_config

from highflame_middleware import CallContext, ModelContext, current_context

__all__ = ["caller_of", "model_of", "thread_of"]

# What may name somebody, the plainest last. `context` counts before all of it.
_USER = ("highflame_user", "highflame_user_id", "langgraph_auth_user_id", "user_id")
_ROLE = ("highflame_role", "user_role")
_SESSION = ("highflame_session", "highflame_session_id", "thread_id")
# What is told to the guard besides.
_ABOUT = {"lc_agent_name": "agent", "langgraph_node": "node"}


def caller_of(config: Mapping[str, Any] | None = None) -> CallContext:
    """The caller that a text of this run is judged for.

    Session: `context`, else ``highflame_session`` or ``thread_id`` of the configuration. They have to be
    chosen by the application: whoever can choose a thread can read it.
    """
    here, found = current_context(), config if config is not None else ensure_config()
    metadata = found.get("metadata") or {}
    given = {**metadata, **(found.get("configurable") or {})}
    about = {ours: str(metadata[name]) for name, ours in _ABOUT.items() if metadata.get(name)}
    return replace(
        here,
        user=here.user or _first(given, _USER),
        role=here.role or _first(given, _ROLE),
        session=here.session or _first(given, _SESSION),
        metadata={"framework": "langgraph", **about, **here.metadata},
    )


def thread_of(config: Mapping[str, Any]) -> str | None:
    """The thread that a run belongs to."""
    thread = (config.get("configurable") or {}).get("thread_id")
    return str(thread) if thread is not None else None


def model_of(model: Any) -> ModelContext:
    """What a chat model says of itself."""
    try:
        said: Mapping[str, Any] = model._get_ls_params()  # noqa: SLF001 - what LangChain's own tracers read
    except Exception:  # noqa: BLE001 - a name is not worth a call
        said = {}
    return ModelContext(provider=_string(said.get("ls_provider")), model=_string(said.get("ls_model_name")))


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next(
        (str(given[name]) for name in names if isinstance(given.get(name), str | int) and given[name]), None
    )


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
