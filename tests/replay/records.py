"""Recorded exchanges: read from files of a traffic folder, or made by hand in `corpus`."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from highflame_middleware.codecs import codec_for_path

# Headers that say how the recorded bytes were framed, not what they are.
FRAMING = {"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"}


@dataclass(frozen=True)
class Record:
    """One exchange. ``gzipped`` says that the body is as it was on the wire, content encoding included."""

    source: str
    provider: str
    operation: str
    stream: bool
    url: str
    body: Any = field(repr=False)
    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes = field(repr=False)
    gzipped: bool = False
    method: str = "POST"

    @property
    def codec(self) -> str | None:
        """The format, where this library has a codec for it."""
        found = codec_for_path(urlsplit(self.url).path, spoken="")
        return found.name if found is not None and isinstance(self.body, dict) else None


def folder() -> Path:
    """Where the recorded traffic is: ``TRAFFIC_DIR``, or beside the checkout."""
    return Path(os.environ.get("TRAFFIC_DIR") or Path(__file__).resolve().parents[3] / "shared" / "traffic")


def read_folder(path: Path) -> Iterator[Record]:
    """Every record of every ``*.jsonl.gz``."""
    for file in sorted(path.glob("*.jsonl.gz")):
        with gzip.open(file) as lines:
            for number, line in enumerate(lines, 1):
                yield _record(f"{file.name}:{number}", json.loads(line))


def _record(source: str, row: dict[str, Any]) -> Record:
    request, response = row["request"], row["response"]
    gzipped = response["fidelity"] == "gzip-wire"
    headers = _headers(response["headers"])
    drop = FRAMING - ({"content-encoding"} if gzipped else set())
    kept = [(name, value) for name, value in headers if name not in drop]
    if not any(name == "content-type" for name, _ in kept):
        kept.append(("content-type", "text/event-stream" if row["stream"] else "application/json"))
    return Record(
        source=source,
        provider=row["provider"],
        operation=row["operation"],
        stream=bool(row["stream"]),
        url=request["url"],
        body=_json(base64.b64decode(request["body_b64"] or "")),
        status=response["status"],
        headers=tuple(kept),
        content=base64.b64decode(response["body_b64"] or ""),
        gzipped=gzipped,
        method=request["method"],
    )


def _headers(given: Any) -> list[tuple[str, str]]:
    rows = given.items() if isinstance(given, dict) else given
    flat = [(name, item) for name, value in rows for item in (value if isinstance(value, list) else [value])]
    return [(name.lower(), str(value)) for name, value in flat]


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
