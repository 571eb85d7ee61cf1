"""Serving an ASGI app on a port of 127.0.0.1 for the length of a ``with`` block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..extras import require

__all__ = ["serve_on_thread"]

_PATIENCE = 20.0
# Requests still open when the block ends, a stream that nobody reads say, are cut off after this many seconds.
_GRACE = 1


@contextmanager
def serve_on_thread(app: Any) -> Iterator[str]:
    """Serve an app with uvicorn on a thread; gives its URL, without a path. Needs the extra ``gateway``."""
    uvicorn = require("uvicorn", extra="gateway", needed="uvicorn>=0.30")
    config = uvicorn.Config(
        # What is always there: with it a test goes the same way wherever it is run.
        app,
        host="127.0.0.1",
        port=0,
        log_level="error",
        timeout_graceful_shutdown=_GRACE,
        loop="asyncio",
        http="h11",
    )
    server = uvicorn.Server(config)

    def run() -> None:
        # How uvicorn gives up where the app does not start; it has said why.
        with suppress(SystemExit):
            server.run()

    thread = threading.Thread(target=run, name="highflame-test-server", daemon=True)
    thread.start()
    until = time.monotonic() + _PATIENCE
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError("the server did not start")
        time.sleep(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
