"""What providers really sent, read and written again in its own format: the same, field for field.

Streams are held to their deltas: what is read of a stream, written and read again is what was read. In
every other format each either says what it said, word for word, or is refused.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import codec_for_path, framing_for
from highflame_middleware.translation import (
    TRANSLATORS,
    StreamTranslation,
    UntranslatableError,
    load_translator,
)
from highflame_middleware.translation.conversation import Ended
from highflame_middleware.translation.translator import Translator
from tests.replay.records import Record, folder, read_folder
from tests.translation.hearing import Heard, collect, hear_call, hear_reply
from tests.translation.test_every_pair import read, read_all, through_wire

# By format: the ends of the paths that hold conversations, and the fewest calls that there are.
RECORDED = {
    "openai-chat": (("/chat/completions",), 900),
    "openai-responses": (("/responses",), 380),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    translator = load_translator(name)
    ends, fewest = RECORDED[name]
    counts: Counter[str] = Counter()
    for record in records(name, ends):
        path = urlsplit(record.url).path
        call = translator.read_call(record.body, path)
        written = translator.write_call(call)
        assert written.body == record.body, record.source
        assert written.dropped == (), record.source
        assert translator.read_call(through_wire(written.body), path) == call, record.source
        counts["calls"] += 1
        if record.status == 200:
            counts[check_reply(translator, record)] += 1
    with capsys.disabled():
        print(f"\n{name}: {dict(counts)}")
    assert counts["calls"] >= fewest


@pytest.mark.parametrize("name", RECORDED)
def test_recordings_in_other_formats(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    first = load_translator(name)
    ends, _ = RECORDED[name]
    counts: dict[str, Counter[str]] = {target: Counter() for target in TRANSLATORS if target != name}
    for record in records(name, ends):
        call = first.read_call(record.body, urlsplit(record.url).path)
        for target, counted in counts.items():
            second = load_translator(target)
            try:
                written = second.write_call(call)
            except UntranslatableError:
                counted["calls refused"] += 1
                continue
            heard = hear_call(second.read_call(through_wire(written.body), written.path))
            assert words(heard) == words(hear_call(call)), record.source
            counted["calls"] += 1
        if record.status == 200:
            check_in_other_formats(name, record, counts)
    with capsys.disabled():
        print(*(f"\n{name} in {target}: {dict(counted)}" for target, counted in counts.items()))
    assert all(counted["calls"] > counted["calls refused"] for counted in counts.values())


def check_in_other_formats(name: str, record: Record, counts: dict[str, Counter[str]]) -> None:
    content = gzip.decompress(record.content) if record.gzipped else record.content
    framing = framing_for(dict(record.headers)["content-type"].partition(";")[0])
    first = load_translator(name)
    for target, counted in counts.items():
        second = load_translator(target)
        if framing is None:
            try:
                reply = first.read_reply(loaded(content))
                again = second.write_reply(reply)
            except UntranslatableError:
                counted["replies refused"] += 1
                continue
            assert words(hear_reply(second.read_reply(through_wire(again)))) == words(hear_reply(reply)), (
                record.source
            )
            counted["replies"] += 1
            continue
        translation = StreamTranslation(name, target, framing=framing, model="m")
        deltas = read(second, translation.feed(content) + translation.finish())
        if any(isinstance(delta, Ended) and delta.error for delta in deltas):
            counted["streams refused or broken"] += 1
            continue
        reply = collect(read(first, content.rstrip() + b"\n\n"))
        assert words(hear_reply(collect(deltas))) == words(hear_reply(reply)), record.source
        counted["streams"] += 1


def words(heard: Heard) -> list[Any]:
    """What is said, without thoughts, names of files, and how JSON is spaced; of a turn its tool calls last."""
    turns = [["assistant", *part] for part in heard["parts"]] if "parts" in heard else heard["turns"]
    spoken = [part for part in (*heard.get("system", ()), *turns) if part[1] != "reasoning"]
    out: list[Any] = []
    for role, turn in groupby(spoken, key=itemgetter(0)):
        # Where there is no turn at all, the last instruction may become the user's.
        out.append(role if turns else "user")
        out += _words(sorted(turn, key=lambda part: part[1] == "call"))
    return out


def _words(turn: list[Any]) -> list[Any]:
    out: list[Any] = []
    for _, kind, *rest in turn:
        if kind == "call":
            out.append([kind, *rest])
        elif kind in ("text", "refusal"):
            out.append(rest[0])
        elif kind == "result":
            # Formats that take an object have one text of all, and the media beside it.
            texts = [inner[1] for inner in rest[1] if inner[0] == "text"]
            out.append([spaced("\n".join(texts)), *(inner[3:5] for inner in rest[1] if inner[0] != "text")])
        elif kind == "media":
            out.append([kind, rest[2], rest[3]])
    return out


def spaced(text: str) -> Any:
    return loaded(text.encode()) or text


def records(name: str, ends: tuple[str, ...]) -> Iterator[Record]:
    for record in read_folder(folder()):
        path = urlsplit(record.url).path
        codec = codec_for_path(path)
        if codec is not None and codec.name == name and path.endswith(ends) and isinstance(record.body, dict):
            yield record


def check_reply(translator: Translator, record: Record) -> str:
    content = gzip.decompress(record.content) if record.gzipped else record.content
    kind = dict(record.headers)["content-type"].partition(";")[0]
    if framing_for(kind) is not None:
        deltas = read(translator, content.rstrip() + b"\n\n")
        assert read_all(translator, deltas) == deltas, record.source
        return "streams"
    body = loaded(content)
    try:
        reply = translator.read_reply(body)
    except UntranslatableError:
        # A gateway's error page, or an error with status 200.
        assert body is None or "error" in body, record.source
        return "no replies"
    again = translator.write_reply(reply)
    assert again == body, record.source
    assert translator.read_reply(through_wire(again)) == reply, record.source
    return "replies"


def loaded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
