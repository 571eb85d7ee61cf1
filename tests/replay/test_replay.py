"""Replaying: with the guard off or in monitor, what the caller gets is what a bare call gives, byte and object."""

from __future__ import annotations

from collections import Counter

import openai
import pytest

from tests.replay.corpus import corpus
from tests.replay.players import Player
from tests.replay.records import Record, folder, read_folder
from tests.replay.replaying import SETUPS, replay_all

NAMED = {"openai", "azure-openai"}


def replay(records: list[Record]) -> tuple[Counter[tuple[str, str]], list[str]]:
    counts: Counter[tuple[str, str]] = Counter()
    differences: list[str] = []

    def report(player: Player, record: Record, kind: str, setup: str, difference: str) -> None:
        counts[kind, setup] += 1
        if difference:
            differences.append(f"{record.source} ({player.sdk}, {kind}, {setup}): {difference}")

    replay_all(records, report)
    return counts, differences


def test_the_corpus_of_our_own() -> None:
    records = corpus()
    assert all(record.codec is not None for record in records)
    if not hasattr(openai.OpenAI, "responses"):
        records = [record for record in records if record.operation != "responses"]
    counts, differences = replay(records)
    assert differences == []
    assert counts == {(kind, setup): len(records) for kind in ("sync", "async") for setup in SETUPS}


def test_the_recorded_traffic_of_openai_and_azure(capsys: pytest.CaptureFixture[str]) -> None:
    path = folder()
    if not path.is_dir():
        pytest.skip(f"no recorded traffic at {path} (TRAFFIC_DIR)")
    records = [record for record in read_folder(path) if record.provider in NAMED and record.codec is not None]
    if not records:
        pytest.skip(f"no OpenAI or Azure records at {path}")
    counts, differences = replay(records)
    with capsys.disabled():
        made = sum(counts.values())
        print(
            f"\nreplayed {len(records)} OpenAI and Azure records in {made} comparisons: {len(differences)} differ"
        )
    assert differences == []
