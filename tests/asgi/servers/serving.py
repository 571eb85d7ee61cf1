"""Real servers in processes of their own, and the test's end of what happens in them."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 30.0
APP = "tests.asgi.servers.application:app"

_UVICORN = ("-m", "uvicorn", APP, "--host", "127.0.0.1", "--log-level", "error", "--port", "{port}")
_HYPERCORN = ("-m", "hypercorn", APP, "--bind", "127.0.0.1:{port}", "--workers", "0", "--worker-class")
_GRANIAN = ("-m", "granian", APP, "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--loop")
_GUNICORN = ("-m", "gunicorn", APP, "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}", "-k")

# How each server is started, and the packages that it takes.
COMMANDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "uvicorn, h11": ((*_UVICORN, "--http", "h11", "--loop", "asyncio"), ("uvicorn", "h11")),
        "uvicorn, httptools, uvloop": (
            (*_UVICORN, "--http", "httptools", "--loop", "uvloop", "--ws", "wsproto"),
            ("uvicorn", "httptools", "uvloop", "wsproto"),
        ),
        "hypercorn, asyncio": ((*_HYPERCORN, "asyncio"), ("hypercorn",)),
        "hypercorn, trio": ((*_HYPERCORN, "trio"), ("hypercorn", "trio")),
        "granian, asyncio": ((*_GRANIAN, "asyncio"), ("granian",)),
        "granian, uvloop": ((*_GRANIAN, "uvloop"), ("granian", "uvloop")),
        "gunicorn, uvicorn": ((*_GUNICORN, "uvicorn.workers.UvicornWorker"), ("gunicorn", "uvicorn")),
        "gunicorn, its own": ((*_GUNICORN, "asgi"), ("gunicorn",)),
    }
)


# What some of them do not do, whatever stands before the application.
LACKS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "hypercorn": frozenset({"a client's close code"}),
        "granian": frozenset({"headers of an accept"}),
        "gunicorn, its own": frozenset({"a denied handshake's answer"}),
    }
)


class Control:
    """What the application tells: ``heard`` takes it off the queue, ``go`` answers what it asks."""

    def __init__(self) -> None:
        self._events: queue.Queue[str] = queue.Queue()
        self._asking: queue.Queue[socket.socket] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def heard(self, *expected: str) -> None:
        """Wait until all of these have been told, in whatever order."""
        told = sorted(self._events.get(timeout=PATIENCE) for _ in expected)
        assert told == sorted(expected), f"it told {told}"

    def go(self, event: str) -> None:
        """Wait until the application asks whether to go on, and say yes."""
        self.heard(f"{event}?")
        with self._asking.get(timeout=PATIENCE) as connection:
            connection.sendall(b"go\n")

    @property
    def silent(self) -> bool:
        return self._events.empty()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            event = connection.makefile().readline().strip()
            if event.endswith("?"):
                self._asking.put(connection)
            else:
                connection.close()
            self._events.put(event)


@dataclass
class Serving:
    """A server that runs, and the test's end of its application."""

    name: str
    port: int
    control: Control = field(repr=False)
    log: IO[str] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def does(self, what: str) -> bool:
        """Whether the server is known for doing something that not all of them do."""
        return not any(self.name.startswith(name) and what in lacking for name, lacking in LACKS.items())

    @property
    def said(self) -> str:
        """What it has logged."""
        self.log.seek(0)
        return self.log.read()

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            yield connection


@contextmanager
def serving(name: str) -> Iterator[Serving]:
    """Run one of the servers for the length of the block."""
    control = Control()
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in COMMANDS[name][0]]
    environment = {**os.environ, "CONTROL": str(control.port), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)
        try:
            _await_port(process, port, log)
            yield Serving(name, port, control, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            control.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _await_port(process: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"the server ended: {log.read()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        # Nobody says when a server listens but its port.
        time.sleep(0.02)
    raise RuntimeError("the server did not start")
