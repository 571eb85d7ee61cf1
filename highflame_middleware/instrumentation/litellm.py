"""What litellm makes of a verdict: an error of its own, tried again. Here a verdict comes through as it is.

Its calls need no seam of their own: they go over an SDK or over httpx, where
they are caught. All its errors are made by one function, which many of its
modules have imported by name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..errors import HighflameError
from .logical import Door
from .patches import Patches

__all__ = ["patch"]

_MAPPING, _RETRIES = "exception_type", "_get_wrapper_num_retries"


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:  # noqa: ARG001 - it speaks many
    """Patch the function that maps errors, wherever it is. ``module`` is ``litellm.main``."""
    mapping = vars(module)[_MAPPING]

    def mapped(original: Any) -> Callable[..., Any]:
        def exception_type(*args: Any, **kwargs: Any) -> Any:
            # Its second parameter, by whatever way it is given.
            error = kwargs.get("original_exception", args[1] if len(args) > 1 else None)
            verdict = _verdict_in(error) if door.active() else None
            return verdict if verdict is not None else original(*args, **kwargs)

        return exception_type

    for name, loaded in list(sys.modules.items()):
        if name.partition(".")[0] == "litellm" and vars(loaded).get(_MAPPING) is mapping:
            patches.replace(loaded, _MAPPING, mapped)
    _patch_others(patches, door)


def _patch_others(patches: Patches, door: Door) -> None:
    """What newer versions do besides: fall back from a broken stream, and try again whatever the error is."""

    def fallback(original: Any) -> Callable[..., Any]:
        def _handle_stream_fallback_error(self: Any, error: Any) -> Any:
            verdict = _verdict_in(error) if door.active() else None
            if verdict is not None:
                raise verdict
            return original(self, error)

        return _handle_stream_fallback_error

    def retries(original: Any) -> Callable[..., Any]:
        def _get_wrapper_num_retries(kwargs: Any, exception: Any) -> Any:
            if door.active() and isinstance(exception, HighflameError):
                return None, kwargs
            return original(kwargs=kwargs, exception=exception)

        return _get_wrapper_num_retries

    streams = getattr(sys.modules.get("litellm.litellm_core_utils.streaming_handler"), "CustomStreamWrapper", None)
    if streams is not None and "_handle_stream_fallback_error" in vars(streams):
        patches.replace(streams, "_handle_stream_fallback_error", fallback)
    utils = sys.modules.get("litellm.utils")
    if utils is not None and _RETRIES in vars(utils):
        patches.replace(utils, _RETRIES, retries)


def _verdict_in(error: Any) -> HighflameError | None:
    """The verdict that an error was made of inside litellm, if it was; not one that the caller is busy with."""
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        if isinstance(error, HighflameError):
            return error if not seen or _was_caught_by_litellm(error) else None
        seen.add(id(error))
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__
    return None


def _was_caught_by_litellm(error: BaseException) -> bool:
    """Whether the outermost frame that the error has come to is one of litellm's, or of an SDK that it uses."""
    trace = error.__traceback__
    package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] if trace is not None else ""
    return package in ("litellm", "openai")
