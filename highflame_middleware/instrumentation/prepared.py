"""One logical call, made with a request that an HTTP library has built already: read from its bytes.

The request that is given is left as it is; what is sent is another, so that
whoever keeps the first may send it again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..bodies import unambiguous
from ..codecs.parts import dump_json
from ..drivers import aperform, perform
from ..errors import UnreadableError
from ..exchange import GUARDED
from ..flow import arun, run
from ..pipeline import guarded
from ..route import PROVIDERS, Origin, provider_of
from .logical import Door, LogicalCall
from .wire import TAG, Attempt

__all__ = ["asend_guarded", "is_seen", "outgoing", "read_request", "send_guarded"]

# What says how the old bytes were written.
_WRITTEN = ("content-length", "content-encoding", "transfer-encoding")


def is_seen(request: Any) -> bool:
    """Whether a request belongs to a call that another seam, or a gateway in this process, has in hand."""
    return TAG in request.extensions or GUARDED in request.extensions


def read_request(door: Door, request: Any, *, spoken: str) -> LogicalCall:
    """The call that a request makes, in a format of the provider that ``spoken`` names."""
    raw_path = request.url.raw_path.decode("ascii")
    address = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    azure = provider_of(Origin.of(address)) is PROVIDERS["azure"]
    return LogicalCall(
        door,
        spoken=spoken,
        origin=Origin.of(address, azure=azure),
        method=request.method.upper(),
        path=raw_path,
        read_body=partial(_read_body, request, strict=door.policy.strict),
        headers=(request.headers,),
    )


def send_guarded(call: LogicalCall, request: Any, send: Callable[[Any], Any]) -> Any:
    """Make a call with ``send``, which gets the request to send."""

    def invoke(body: Any) -> Any:
        with call.attached():
            return send(outgoing(call, request, body))

    return run(guarded(call.exchange, invoke), perform)


async def asend_guarded(call: LogicalCall, request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
    """Make a call with an asynchronous ``send``, which gets the request to send."""

    async def invoke(body: Any) -> Any:
        with call.attached():
            return await send(outgoing(call, request, body))

    return await arun(guarded(call.exchange, invoke), aperform)


def outgoing(call: LogicalCall, request: Any, body: Any) -> Any:
    """A request like the one given that is an attempt at a call, and sends this body."""
    body = call.outgoing(body)
    headers = request.headers.copy()
    content: dict[str, Any]
    if body is not call.body:
        for name in _WRITTEN:
            headers.pop(name, None)
        content = {"content": dump_json(body)}
    else:
        content = _content(request)
    return type(request)(
        request.method,
        request.url,
        headers=headers,
        extensions={**request.extensions, TAG: Attempt(call)},
        **content,
    )


def _content(request: Any) -> dict[str, Any]:
    """A request's own body: as bytes where there are any, for auth flows and hooks that look at them."""
    try:
        return {"content": request.content}
    except RuntimeError:
        return {"stream": request.stream}


def _read_body(request: Any, *, strict: bool) -> Any:
    place = f"The body of the call to {request.url.path}"
    content = _content(request).get("content")
    if content is None:
        raise UnreadableError(
            f"{place} is a stream or a form, which cannot be read before it is sent: give it as JSON"
        )
    if not content:
        return None
    try:
        return json.loads(content, object_pairs_hook=unambiguous if strict else None)
    except (ValueError, RecursionError):
        raise UnreadableError(
            f"{place} is not JSON that can be read in one way only: it could not be guarded"
        ) from None
