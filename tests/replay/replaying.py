"""Replaying records through the real SDK, bare and instrumented, and comparing what the caller gets.

Run as a program over a traffic folder it prints a table of outcomes; the tests
run the same over that folder and over the corpus of the project's own making.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import openai

from highflame_middleware import Gateway, Mode, Settings, instrument
from tests.replay.records import Record, folder, read_folder
from tests.servers import Answer, Seen, Server, running

INDEX = "x-replay-index"

# The instrumentations that must not show: guard off and monitor, straight to the provider and through the gateway.
SETUPS = ("direct, no guard", "direct, monitor", "gateway, no guard", "gateway, monitor")


@dataclass
class Observed:
    """What a caller got: the decoded bytes, the parsed objects, or the error; and what the provider was sent."""

    content: bytes = b""
    parsed: Any = None
    error: tuple[str, Any, Any] | None = None
    sent: Any = None


class Replay:
    """A replaying provider, and clients of it."""

    def __init__(self, records: list[Record], server: Server) -> None:
        self.records = records
        self._server = server
        server.respond = self._respond

    def _respond(self, seen: Seen) -> Answer:
        index = int(seen.headers[INDEX])
        record = self.records[index]
        return Answer(record.status, record.headers, list(_split(record, index)))

    @contextmanager
    def set_up(self, setup: str) -> Iterator[None]:
        """Be instrumented as one of `SETUPS` says."""
        where, _, guarding = setup.partition(", ")
        with ExitStack() as stack:
            through: Any = None
            if where == "gateway":
                through = Gateway(providers={"replay": {"base_url": f"{self._server.url}/v1"}}, guard=None)
                stack.callback(through.close)
            guard = "embedded" if guarding == "monitor" else None
            settings = Settings(gateway=through, guard=guard, mode=Mode.MONITOR, reroute_hosts=("*",))
            stack.enter_context(instrument(settings=settings))
            yield

    def observe(self, kind: str) -> list[Observed]:
        """Make every record's call with the SDK as it is set up now."""
        return self._blocking() if kind == "sync" else asyncio.run(self._awaited())

    def _blocking(self) -> list[Observed]:
        out = []
        with openai.OpenAI(**self._options()) as plain, openai.AzureOpenAI(**self._azure_options()) as azure:
            for index, record in enumerate(self.records):
                resource = _resource(azure if _is_azure(record) else plain, record)
                arguments = _arguments(record, index)
                try:
                    if record.stream:
                        with resource.with_streaming_response.create(**arguments) as response:
                            content = b"".join(response.iter_bytes())
                        got = Observed(content, [_parsed(item) for item in resource.create(**arguments)])
                    else:
                        raw = resource.with_raw_response.create(**arguments)
                        got = Observed(raw.content, _parsed(raw.parse()))
                except Exception as error:
                    got = Observed(error=_seen_error(error))
                out.append(self._noted(got))
        return out

    async def _awaited(self) -> list[Observed]:
        out = []
        plain, azure = openai.AsyncOpenAI(**self._options()), openai.AsyncAzureOpenAI(**self._azure_options())
        async with plain, azure:
            for index, record in enumerate(self.records):
                resource = _resource(azure if _is_azure(record) else plain, record)
                arguments = _arguments(record, index)
                try:
                    if record.stream:
                        async with resource.with_streaming_response.create(**arguments) as response:
                            content = b"".join([chunk async for chunk in response.iter_bytes()])
                        items = [_parsed(item) async for item in await resource.create(**arguments)]
                        got = Observed(content, items)
                    else:
                        raw = await resource.with_raw_response.create(**arguments)
                        got = Observed(raw.content, _parsed(raw.parse()))
                except Exception as error:
                    got = Observed(error=_seen_error(error))
                out.append(self._noted(got))
        return out

    def _options(self) -> dict[str, Any]:
        return {"api_key": "k", "max_retries": 0, "base_url": f"{self._server.url}/v1"}

    def _azure_options(self) -> dict[str, Any]:
        return {"api_key": "k", "max_retries": 0, "azure_endpoint": self._server.url, "api_version": "2024-06-01"}

    def _noted(self, observed: Observed) -> Observed:
        observed.sent = [seen.json for seen in self._server.log]
        self._server.log.clear()
        return observed


def _split(record: Record, index: int) -> Iterator[bytes]:
    """The body in pieces that it may well have come in: whole, by events, at random, byte by byte."""
    content = record.content
    ways = (
        ("events", "random", "bytes" if len(content) < 4096 else "random") if record.stream else ("whole", "random")
    )
    way = ways[index % len(ways)]
    if way == "events":
        yield from re.findall(rb".*?\n\n|.+", content, re.DOTALL)
    elif way == "bytes":
        yield from (content[at : at + 1] for at in range(len(content)))
    elif way == "random":
        sizes = random.Random(index)
        at = 0
        while at < len(content):
            size = sizes.choice((1, 2, 3, 7, 40, 200, 1500))
            yield content[at : at + size]
            at += size
    elif content:
        yield content


def _is_azure(record: Record) -> bool:
    return record.provider == "azure-openai"


_RESOURCES: dict[str, Callable[[Any], Any]] = {
    "chat/completions": lambda client: client.chat.completions,
    "completions": lambda client: client.completions,
    "embeddings": lambda client: client.embeddings,
    "responses": lambda client: client.responses,
}
# What the SDK's methods want by name, and what stands in where a recording has it not.
_REQUIRED: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "m", "messages": []},
    "completions": {"model": "m", "prompt": ""},
    "embeddings": {"model": "m", "input": ""},
    "responses": {"model": "m", "input": ""},
}


def _resource(client: Any, record: Record) -> Any:
    return _RESOURCES[record.operation](client)


def _arguments(record: Record, index: int) -> dict[str, Any]:
    body = dict(record.body)
    named = {name: body.pop(name, absent) for name, absent in _REQUIRED[record.operation].items()}
    if record.stream:
        named["stream"] = True
        body.pop("stream", None)
    return {**named, "extra_body": body, "extra_headers": {INDEX: str(index)}}


def _parsed(value: Any) -> Any:
    return value.model_dump(warnings=False) if hasattr(value, "model_dump") else value


def _seen_error(error: Exception) -> tuple[str, Any, Any]:
    return type(error).__name__, getattr(error, "status_code", None), getattr(error, "body", str(error))


def compare(bare: Observed, other: Observed) -> str:
    """How what was observed differs from what a bare call gave; empty where it does not."""
    if other.error != bare.error:
        return f"error {other.error} instead of {bare.error}"
    if other.content != bare.content:
        return "other bytes"
    if other.parsed != bare.parsed:
        return "other objects"
    return "" if other.sent == bare.sent else "another request was sent"


def replay_all(records: Iterable[Record], report: Callable[[Record, str, str, str], None]) -> None:
    """Replay records through every setup; ``report(record, kind, setup, difference)`` for each comparison."""
    chosen = [record for record in records if record.codec is not None]
    with running() as server:
        replay = Replay(chosen, server)
        for kind in ("sync", "async"):
            bare = replay.observe(kind)
            for setup in SETUPS:
                with replay.set_up(setup):
                    for record, expected, got in zip(chosen, bare, replay.observe(kind), strict=True):
                        report(record, kind, setup, compare(expected, got))


def main() -> int:
    """Replay a traffic folder and print counts per provider, operation and outcome."""
    path = folder()
    if not path.is_dir():
        print(f"no recorded traffic at {path}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
        return 1
    records = list(read_folder(path))
    counts: Counter[tuple[str, str, str]] = Counter()
    differences: list[str] = []

    def report(record: Record, kind: str, setup: str, difference: str) -> None:
        counts[record.provider, record.operation, "differs" if difference else "identical"] += 1
        if difference:
            differences.append(f"{record.source} {kind} {setup}: {difference}")

    for record in records:
        if record.codec is None:
            counts[record.provider, record.operation, "no codec"] += 1
    replay_all(records, report)
    replayed = sum(record.codec is not None for record in records)
    for (provider, operation, outcome), count in sorted(counts.items()):
        print(f"{provider:14} {operation:40} {outcome:10} {count:6}")
    ways = 2 * len(SETUPS)
    print(f"\n{len(records)} records, {replayed} replayed in {ways} ways each: {len(differences)} differences")
    for line in differences[:40]:
        print(f"  {line}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
