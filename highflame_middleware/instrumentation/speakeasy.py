"""The logical seam of SDKs that Speakeasy generates: ``do_request`` sends a built request, retries inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from .logical import Door
from .patches import Patches
from .prepared import asend_guarded, is_seen, read_request, send_guarded

__all__ = ["patch"]


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:
    """Patch the base classes of one SDK. ``module`` is its ``basesdk``."""

    def blocking(original: Any) -> Callable[..., Any]:
        def do_request(self: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            below = original.__get__(self, type(self))
            if not door.active() or is_seen(request):
                return below(hook_ctx, request, *args, **kwargs)
            call = read_request(door, request, spoken=spoken)
            return send_guarded(call, request, lambda sent: below(hook_ctx, sent, *args, **kwargs))

        return do_request

    def asynchronous(original: Any) -> Callable[..., Awaitable[Any]]:
        async def do_request_async(self: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            below = original.__get__(self, type(self))
            if not door.active() or is_seen(request):
                return await below(hook_ctx, request, *args, **kwargs)
            call = read_request(door, request, spoken=spoken)
            return await asend_guarded(call, request, lambda sent: below(hook_ctx, sent, *args, **kwargs))

        return do_request_async

    patches.replace(module.BaseSDK, "do_request", blocking)
    # Newer generators give the asynchronous one a class of its own.
    patches.replace(getattr(module, "AsyncBaseSDK", module.BaseSDK), "do_request_async", asynchronous)
