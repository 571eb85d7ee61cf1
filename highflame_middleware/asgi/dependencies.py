"""The caller's context for frameworks that inject it; none of them is imported, nothing is taken of a request."""

from __future__ import annotations

# At run time too: frameworks resolve the annotation.
from ..caller import CallContext, current_context

__all__ = ["highflame_context"]


async def highflame_context() -> CallContext:
    """For whom the calls of this request are made: the context that the middleware has set.

    FastAPI: ``caller: Annotated[CallContext, Depends(highflame_context)]``.
    Litestar: ``dependencies={"caller": Provide(highflame_context)}``.
    Starlette, Quart, Django: ``caller = await highflame_context()``, or `current_context`.

    >>> import asyncio
    >>> asyncio.run(highflame_context()).user is None
    True
    """
    return current_context()
