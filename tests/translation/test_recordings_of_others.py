"""What Anthropic, Bedrock and Gemini really sent, read and written again: the same, but for what is said here.

Gemini takes every key in two spellings, and its tools as one object or several: one of each is written.
Pieces of a tool call's arguments that another call's interrupt are put together; all else of a stream is as it was.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import framing_for
from highflame_middleware.translation import TRANSLATORS, UntranslatableError, load_translator
from highflame_middleware.translation.conversation import ArgumentsDelta, Delta
from highflame_middleware.translation.translator import Translator
from tests.replay.records import Record, folder, read_folder
from tests.translation.test_every_pair import read, read_all, through_wire
from tests.translation.test_recordings import loaded


def as_it_is(body: Any) -> Any:
    return body


def in_one_spelling(body: Any) -> Any:
    """Every key in camel case, tools in a list."""
    if isinstance(body, dict):
        said = {
            re.sub("(?<=[a-z0-9])_([a-z])", lambda found: found[1].upper(), key): value
            for key, value in body.items()
        }
        if isinstance(said.get("tools"), dict):
            said["tools"] = [said["tools"]]
        return {key: in_one_spelling(value) for key, value in said.items()}
    return [in_one_spelling(item) for item in body] if isinstance(body, list) else body


# By format: where its calls go, the fewest that there are of calls, replies and streams, and what may differ.
RECORDED: dict[str, tuple[str, tuple[int, int, int], Callable[[Any], Any]]] = {
    "anthropic-messages": (r"/v1/messages$|awPredict$", (370, 320, 45), as_it_is),
    "bedrock-converse": (r"/converse(-stream)?$", (250, 220, 14), as_it_is),
    "gemini": (r":(stream)?[gG]enerateContent$", (490, 460, 30), in_one_spelling),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    translator = load_translator(name)
    pattern, fewest, normal = RECORDED[name]
    counts: Counter[str] = Counter()
    for record in records(pattern):
        path = urlsplit(record.url).path
        try:
            call = translator.read_call(record.body, path)
        except UntranslatableError:
            # Only what the provider refused too.
            assert record.status == 400, record.source
            counts["no calls"] += 1
            continue
        written = translator.write_call(call)
        assert normal(written.body) == normal(record.body), record.source
        assert written.path.partition("?")[0] == path[path.index(written.path[:6]) :], record.source
        assert written.dropped == (), record.source
        assert translator.read_call(through_wire(written.body), written.path) == call, record.source
        counts["calls"] += 1
        counts.update(check_elsewhere(translator, record.body, path))
        if record.status == 200:
            counts[check_reply(translator, record, normal)] += 1
    with capsys.disabled():
        print(f"\n{name}: {dict(counts)}")
    found = (counts["calls"], counts["replies"], counts["streams"])
    assert all(count >= least for count, least in zip(found, fewest, strict=True)), found


def records(pattern: str) -> Iterator[Record]:
    for record in read_folder(folder()):
        if re.search(pattern, urlsplit(record.url).path) and isinstance(record.body, dict):
            yield record


def check_elsewhere(translator: Translator, body: Any, path: str) -> Iterator[str]:
    """What was really asked can be asked in every other format, or is refused by a name."""
    for name in TRANSLATORS:
        if name != translator.name:
            other = load_translator(name)
            try:
                written = other.write_call(translator.read_call(body, path))
            except UntranslatableError:
                yield f"not in {name}"
            else:
                other.read_call(through_wire(written.body), written.path)
                yield f"in {name}"


def check_reply(translator: Translator, record: Record, normal: Callable[[Any], Any]) -> str:
    content = gzip.decompress(record.content) if record.gzipped else record.content
    kind = dict(record.headers).get("content-type", "").partition(";")[0]
    if framing_for(kind) is not None:
        try:
            deltas = read(translator, content if "amazon" in kind else content.rstrip() + b"\n\n")
        except UntranslatableError:
            # Tools that the provider runs itself: nobody else can say what they do.
            return "streams of its own"
        assert whole(read_all(translator, deltas)) == whole(deltas), record.source
        return "streams"
    body = loaded(content)
    if not isinstance(body, dict):
        return "no replies"
    reply = translator.read_reply(body)
    again = translator.write_reply(reply)
    assert normal(again) == normal(body), record.source
    assert translator.read_reply(through_wire(again)) == reply, record.source
    return "replies"


def whole(deltas: Iterable[Delta]) -> list[Any]:
    """A stream with the pieces of each call's arguments put together."""
    arguments: dict[int, str] = {}
    rest: list[Any] = []
    for delta in deltas:
        if isinstance(delta, ArgumentsDelta):
            arguments[delta.index] = arguments.get(delta.index, "") + delta.text
        else:
            rest.append(delta)
    return [*rest, arguments]
