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
from typing import Any

from highflame_middleware import Gateway, Mode, Settings, instrument
from tests.replay.players import Observed, Player, installed_players
from tests.replay.records import Record, folder, read_folder
from tests.servers import Answer, Seen, Server, running

INDEX = "x-replay-index"

# The instrumentations that must not show: guard off and monitor, straight to the provider and through the gateway.
SETUPS = ("direct, no guard", "direct, monitor", "gateway, no guard", "gateway, monitor")


class Replay:
    """A replaying provider, and the calls of one player to it."""

    def __init__(self, player: Player, records: list[Record], server: Server) -> None:
        self.player, self.records = player, records
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
        with self.player.clients(self._server.url) as clients:
            for index, record in enumerate(self.records):
                try:
                    got = self.player.play(clients, record, {INDEX: str(index)})
                except Exception as error:
                    got = Observed(error=_seen_error(error))
                out.append(self._noted(got))
        return out

    async def _awaited(self) -> list[Observed]:
        out = []
        async with self.player.aclients(self._server.url) as clients:
            for index, record in enumerate(self.records):
                try:
                    got = await self.player.aplay(clients, record, {INDEX: str(index)})
                except Exception as error:
                    got = Observed(error=_seen_error(error))
                out.append(self._noted(got))
        return out

    def _noted(self, observed: Observed) -> Observed:
        observed.sent = [_unbounded(seen) for seen in self._server.log]
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


def _unbounded(seen: Seen) -> bytes:
    """What was sent, without the line that parts a form's fields, which is another each time."""
    found = re.match(r"multipart/form-data; boundary=(\S+)", seen.headers.get("content-type", ""))
    return seen.body.replace(found[1].encode(), b"") if found else seen.body


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


def replay_all(
    records: Iterable[Record],
    report: Callable[[Player, Record, str, str, str], None],
    players: Iterable[Player] | None = None,
) -> list[tuple[Player, Record]]:
    """Replay records through every setup, each with every SDK that makes such calls.

    ``report(player, record, kind, setup, difference)`` is called for each
    comparison. Gives which record was replayed with which SDK.
    """
    records = list(records)
    replayed = []
    for player in installed_players() if players is None else players:
        chosen = [record for record in records if player.takes(record)]
        if not chosen:
            continue
        replayed += [(player, record) for record in chosen]
        with running() as server:
            replay = Replay(player, chosen, server)
            for kind in ("sync", "async"):
                bare = replay.observe(kind)
                for setup in SETUPS:
                    with replay.set_up(setup):
                        for record, expected, got in zip(chosen, bare, replay.observe(kind), strict=True):
                            report(player, record, kind, setup, compare(expected, got))
    return replayed


def main() -> int:
    """Replay a traffic folder and print counts per provider, operation and outcome."""
    path = folder()
    if not path.is_dir():
        print(f"no recorded traffic at {path}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
        return 1
    records = list(read_folder(path))
    counts: Counter[tuple[str, str, str, str]] = Counter()
    differences: list[str] = []

    def report(player: Player, record: Record, kind: str, setup: str, difference: str) -> None:
        outcome = "differs" if difference else "identical"
        counts[record.provider, record.operation, player.sdk, outcome] += 1
        if difference:
            differences.append(f"{record.source} {player.sdk} {kind} {setup}: {difference}")

    replayed = replay_all(records, report)
    taken = {id(record) for _, record in replayed}
    for record in records:
        if id(record) not in taken:
            counts[record.provider, record.operation, "", "no codec" if record.codec is None else "no SDK"] += 1
    for (provider, operation, sdk, outcome), count in sorted(counts.items()):
        print(f"{provider:14} {operation:40.40} {sdk:14} {outcome:10} {count:6}")
    ways = 2 * len(SETUPS)
    print(f"\n{len(records)} records, {len(taken)} replayed in {ways} ways each: {len(differences)} differences")
    for line in differences[:40]:
        print(f"  {line}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
