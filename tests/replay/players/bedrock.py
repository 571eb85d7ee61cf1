"""Recorded Bedrock calls, with boto3 and aiobotocore."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.eventstream import EventStream
from botocore.loaders import Loader
from botocore.model import ServiceModel

from tests.instrumentation.kits.bedrock import make
from tests.replay.players import Observed, Player
from tests.replay.records import Record

_SERVICES = {"runtime": "bedrock-runtime", "agents": "bedrock-agent-runtime"}
_BODY = "body"


@dataclass
class _Wired:
    """Clients that send some headers more with each request."""

    clients: Any
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, service in _SERVICES.items():
            client = getattr(self.clients, name)
            client.meta.events.register(f"before-call.{service}", self._add)

    def _add(self, params: Any, **kwargs: Any) -> None:
        params["headers"].update(self.headers)

    def call(self, record: Record, headers: dict[str, str]) -> Any:
        """Make a record's call."""
        self.headers = headers
        name, method, arguments = _found(record)
        return getattr(getattr(self.clients, name), method)(**arguments)


def _takes(record: Record) -> bool:
    return record.provider == "bedrock" and isinstance(record.body, dict) and _operation(record) is not None


@cache
def _models() -> dict[str, ServiceModel]:
    loader = Loader()
    return {name: ServiceModel(loader.load_service_model(kind, "service-2")) for name, kind in _SERVICES.items()}


def _operation(record: Record) -> tuple[str, Any, dict[str, str]] | None:
    """Whose operation a record's URL is of, and what its path says."""
    parts = urlsplit(record.url)
    name = "agents" if "agent-runtime" in parts.netloc else "runtime"
    model = _models()[name]
    for known in model.operation_names:
        operation = model.operation_model(known)
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(operation.http["requestUri"]))
        if operation.http["method"] == "POST" and (match := re.fullmatch(pattern, parts.path)):
            return name, operation, {key: unquote(value) for key, value in match.groupdict().items()}
    return None


def _found(record: Record) -> tuple[str, str, dict[str, Any]]:
    found = _operation(record)
    assert found is not None
    name, operation, named = found
    if operation.input_shape.serialization.get("payload") == _BODY:
        body = {_BODY: json.dumps(record.body).encode()}
    else:
        body = _given(operation.input_shape, record.body)
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.name).lower()
    return name, method, {**body, **named}


def _given(shape: Any, value: Any) -> Any:
    """Wire JSON as the parameters that botocore takes for it: blobs are bytes."""
    if shape.type_name == "blob" and isinstance(value, str):
        return base64.b64decode(value)
    if shape.type_name == "structure" and isinstance(value, dict) and shape.members:
        return {key: _given(shape.members[key], below) for key, below in value.items() if key in shape.members}
    if shape.type_name == "list" and isinstance(value, list):
        return [_given(shape.member, below) for below in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: _given(shape.value, below) for key, below in value.items()}
    return value


@contextmanager
def _clients(url: str) -> Iterator[_Wired]:
    with make("sync", url) as clients:
        yield _Wired(clients)


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[_Wired]:
    async with make("async", url) as clients:
        yield _Wired(clients)


def _play(wired: _Wired, record: Record, headers: dict[str, str]) -> Observed:
    observed = Observed(parsed=_plain(wired.call(record, headers)))
    for key, part in observed.parsed.items():
        if isinstance(part, EventStream):
            again = wired.call(record, headers)
            observed.content = b"".join(again[key]._raw_stream.stream())
            observed.parsed[key] = list(part)
        elif hasattr(part, "iter_chunks"):
            observed.content = observed.parsed[key] = part.read()
    return observed


async def _aplay(wired: _Wired, record: Record, headers: dict[str, str]) -> Observed:
    observed = Observed(parsed=_plain(await wired.call(record, headers)))
    for key, part in observed.parsed.items():
        if isinstance(part, EventStream):
            again = await wired.call(record, headers)
            chunks = [chunk async for chunk, _ in again[key]._raw_stream.content.iter_chunks()]
            observed.content = b"".join(chunks)
            observed.parsed[key] = [event async for event in part]
        elif hasattr(part, "iter_chunks"):
            observed.content = observed.parsed[key] = await part.read()
    return observed


def _plain(result: Any) -> dict[str, Any]:
    """A result, but for the time of day."""
    metadata = dict(result["ResponseMetadata"])
    metadata["HTTPHeaders"] = {
        name: value for name, value in metadata["HTTPHeaders"].items() if name.lower() != "date"
    }
    return {**result, "ResponseMetadata": metadata}


PLAYER = Player(sdk="bedrock", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
