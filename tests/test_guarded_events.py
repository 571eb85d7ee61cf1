"""Events handed on one by one: in order, each itself unless its bytes are others; closed once, ended once."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from highflame_middleware import BlockedError, UnreadableError
from highflame_middleware.bodies import AsyncGuardedEvents, EventForm, GuardedEvents
from highflame_middleware.codecs.lines import SEGMENTS
from highflame_middleware.exchange import Exchange
from highflame_middleware.screens import EventScreen
from highflame_middleware.testing import FakeGuard
from tests.exchanges import Record, exchange
from tests.servers import chunk

DRIVERS = ["blocking", "asyncio", "trio"]
FORM = EventForm(lambda event: json.dumps(event).encode(), lambda event, raw: json.loads(raw))
SECRET = [chunk("The SEC"), chunk("RET is"), chunk(" out.", finish="stop")]


class Events:
    """Guarded events of either kind over a source that notes what is done with it."""

    def __init__(
        self,
        driver: str,
        given: list[Any],
        *,
        guard: Any = None,
        broken: Any = None,
        returned: bool = True,
        **policy: Any,
    ) -> None:
        self.driver, self.given, self.broken = driver, given, broken
        self.exchange: Exchange = exchange(guard, recording=True, **policy)
        self.exchange.returned = returned
        self.closed = 0
        assert self.exchange.call.codec is not None
        screen = EventScreen(self.exchange, self.exchange.call.codec, SEGMENTS)
        if driver == "blocking":
            self.made: Any = GuardedEvents(self._source(), self._close, self.exchange, screen, FORM)
        else:
            self.made = AsyncGuardedEvents(self._asource(), self._aclose, self.exchange, screen, FORM)

    def read(self, most: int = 1000, *, close: bool = False) -> list[Any]:
        """What is handed on, up to so many events."""
        if self.driver != "blocking":
            return anyio.run(self._aread, most, close, backend=self.driver)  # type: ignore[no-any-return]
        out = []
        for event in self.made:
            out.append(event)
            if len(out) == most:
                break
        if close:
            self.made.close()
            assert list(self.made) == []
        return out

    async def _aread(self, most: int, close: bool) -> list[Any]:
        out = []
        async for event in self.made:
            out.append(event)
            if len(out) == most:
                break
        if close:
            await self.made.aclose()
            assert [event async for event in self.made] == []
        return out

    @property
    def outcome(self) -> list[Any]:
        assert isinstance(self.exchange.recorder, Record)
        return self.exchange.recorder.outcome

    def _source(self) -> Iterator[Any]:
        yield from self.given
        if self.broken is not None:
            raise self.broken

    async def _asource(self) -> AsyncIterator[Any]:
        for event in self.given:
            yield event
        if self.broken is not None:
            raise self.broken

    def _close(self) -> None:
        self.closed += 1

    async def _aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    "options", [{}, {"guard": FakeGuard()}, {"guard": FakeGuard(deny=["out"]), "mode": "monitor"}]
)
def test_what_nothing_changes_is_the_event_itself(options: dict[str, Any], driver: str) -> None:
    events = Events(driver, SECRET, **options)
    got = events.read()
    assert len(got) == 3
    assert all(one is given for one, given in zip(got, SECRET, strict=True))
    assert events.outcome == ["end"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_edited_event_is_written_again(driver: str) -> None:
    got = Events(driver, SECRET, guard=FakeGuard(redact=["SECRET"])).read()
    assert "".join(event["choices"][0]["delta"]["content"] for event in got) == "The [redacted] is out."
    assert len(got) == 3


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stop_is_raised_to_a_reader_that_has_its_reply(driver: str) -> None:
    events = Events(driver, SECRET, guard=FakeGuard(deny=["out"]))
    with pytest.raises(BlockedError) as caught:
        events.read()
    assert events.outcome == [caught.value]
    assert events.closed


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stop_is_kept_for_the_call_where_an_sdk_reads_on(driver: str) -> None:
    events = Events(driver, SECRET, guard=FakeGuard(deny=["out"]), returned=False)
    assert events.read() == []
    assert isinstance(events.exchange.refused, BlockedError)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_source_that_breaks(driver: str) -> None:
    events = Events(driver, SECRET[:2], guard=FakeGuard(), broken=OSError("cut"))
    with pytest.raises(OSError, match="cut"):
        events.read()
    assert [str(error) for error in events.outcome] == ["cut"]
    assert events.closed == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_leaving(driver: str) -> None:
    events = Events(driver, SECRET, guard=FakeGuard(), stream="passthrough")
    assert len(events.read(1, close=True)) == 1
    assert events.outcome == ["end"]
    assert events.closed == 1


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_dropping(driver: str) -> None:
    events = Events(driver, SECRET, guard=FakeGuard(), stream="passthrough")
    if driver == "blocking":
        next(events.made)
    events.made = None
    gc.collect()
    assert events.outcome == ["end"]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("fail_open", [False, True])
def test_more_than_can_be_held(fail_open: bool, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.screens.MAX_HELD", 300)
    given = [chunk("word "), chunk("word "), chunk("word "), chunk("word ", finish="stop")]
    events = Events(driver, given, guard=FakeGuard(), fail_open=fail_open)
    if fail_open:
        assert events.read() == given
    else:
        with pytest.raises(UnreadableError):
            events.read()


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_event_at_all(driver: str) -> None:
    events = Events(driver, [], guard=FakeGuard())
    assert events.read() == []
    assert events.outcome == ["end"]
