"""Replaying: with the guard off or in monitor, what the caller gets is what a bare call gives, byte and object.

Here every recorded call of OpenAI's and Azure's APIs is made with the OpenAI
SDK, and one in eight of the others with theirs; `make replay` makes all of them.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.replay.corpus import corpus
from tests.replay.players import Player, installed_players
from tests.replay.records import Record, folder, read_folder
from tests.replay.replaying import SETUPS, replay_all

WHOLE = {"openai": ("openai", "azure-openai")}
PLAYERS = [pytest.param(player, id=player.sdk) for player in installed_players()]


def replay(player: Player, records: list[Record]) -> tuple[Counter[tuple[str, str]], list[str]]:
    counts: Counter[tuple[str, str]] = Counter()
    differences: list[str] = []

    def report(player: Player, record: Record, kind: str, setup: str, difference: str) -> None:
        counts[kind, setup] += 1
        if difference:
            differences.append(f"{record.source} ({player.sdk}, {kind}, {setup}): {difference}")

    replay_all(records, report, [player])
    return counts, differences


@pytest.mark.parametrize("player", PLAYERS)
def test_the_corpus_of_our_own(player: Player) -> None:
    records = [record for record in corpus() if player.takes(record)]
    assert all(record.codec is not None for record in records)
    counts, differences = replay(player, records)
    assert differences == []
    if records:
        assert counts == {(kind, setup): len(records) for kind in ("sync", "async") for setup in SETUPS}
    else:
        assert player.sdk not in ("openai", "httpx", "httpx2"), "the corpus is OpenAI's"


@pytest.mark.parametrize("player", PLAYERS)
def test_recorded_traffic(player: Player, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder()
    if not path.is_dir():
        pytest.skip(f"no recorded traffic at {path} (TRAFFIC_DIR)")
    whole = WHOLE.get(player.sdk, ())
    found = [record for record in read_folder(path) if player.takes(record)]
    rest = [record for record in found if record.provider not in whole]
    # Plain HTTP makes everybody's calls.
    every = 32 if player.sdk.startswith("httpx") else 8
    records = [*(record for record in found if record.provider in whole), *rest[::every]]
    if not records:
        pytest.skip(f"no records of {player.sdk} at {path}")
    counts, differences = replay(player, records)
    with capsys.disabled():
        total = sum(counts.values())
        print(f"\n{player.sdk}: {len(records)} records in {total} comparisons: {len(differences)} differ")
    assert differences == []
    assert set(counts.values()) == {len(records)}
