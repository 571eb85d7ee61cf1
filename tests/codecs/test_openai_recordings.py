"""Recorded calls of OpenAI's other resources: read, written back, and read again, nothing has changed."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import codec_for_path
from highflame_middleware.codecs.parts import Codec
from tests.codecs.test_detection import content_of, fixed, stream_is_fixed
from tests.replay.records import Record, folder, read_folder


def test_recorded_exchanges_are_a_fixed_point() -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    texts: Counter[str] = Counter()
    for record in read_folder(folder()):
        codec = codec_for_path(urlsplit(record.url).path, spoken="openai") if record.provider == "openai" else None
        if codec is not None and record.codec is None:
            texts[codec.name] += checked(codec, record)
    if not texts:
        pytest.skip(f"no OpenAI records at {folder()}")
    assert set(texts) >= {"openai-images", "openai-threads", "openai-realtime", "openai-responses"}
    assert min(texts.values()) > 0


def checked(codec: Codec, record: Record) -> int:
    """Check both of a record's bodies; how many texts they have."""
    count, content = 0, content_of(record)
    if isinstance(record.body, dict):
        fixed(codec, lambda body: codec.read_call(body).texts, record.body)
        count += len(codec.read_call(record.body).texts)
    if record.stream and record.status == 200:
        return count + stream_is_fixed(codec, content)
    if content[:1] == b"{":
        fixed(codec, lambda body: codec.read_reply(body).texts, json.loads(content))
        count += len(codec.read_reply(json.loads(content)).texts)
    return count
