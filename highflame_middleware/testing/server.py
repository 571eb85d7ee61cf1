"""Serving an ASGI app on a port of 127.0.0.1 for the length of a ``with`` block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..extras import require

__all__ = ["serve_on_thread"]

_PATIENCE = 20.0


@contextmanager
def serve_on_thread(app: Any) -> Iterator[str]:
    """Serve an app with uvicorn on a thread; gives its URL, without a path. Needs the extra ``gateway``."""
    uvicorn = require("uvicorn", extra="gateway", needed="uvicorn>=0.30")
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, name="highflame-test-server", daemon=True)
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
