"""Tokens: exchanged once for everybody, replaced in time, never lost to a clock; and what each fault means."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    GuardTimeoutError,
    Highflame,
    HighflameError,
    InvalidResponseError,
)
from highflame_middleware.shield.credentials import read_ticket
from highflame_middleware.shield.flights import Flight
from tests.servers import Answer, Seen, json_answer
from tests.shield.kit import ALLOW, COLOURS, KEY, ScriptedShield, call, html, jwt, problem, slow, token

each_colour = pytest.mark.parametrize("colour", COLOURS)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass for tokens."""
    monkeypatch.setattr("highflame_middleware.shield.credentials.monotonic", lambda: time.monotonic() + seconds)


@pytest.mark.parametrize("key", ["zid_sk_1", "hf_sk_1", "hf_sk-1", "hfa_1"])
def test_service_keys_are_exchanged(there: ScriptedShield, key: str) -> None:
    with there.client(api_key=key) as client:
        client.guard.evaluate_prompt("x")
    assert there.exchanges[0].json["api_key"] == key


@pytest.mark.parametrize("options", [{"api_key": "eyJ0"}, {"api_key": None, "access_token": "zid_sk_as_a_token"}])
def test_whatever_else_is_a_token(there: ScriptedShield, options: dict[str, Any]) -> None:
    with there.client(**options) as client:
        client.guard.evaluate_prompt("x")
    assert there.exchanges == []
    assert there.asked[0].headers["authorization"] == f"Bearer {options.get('access_token') or 'eyJ0'}"


@each_colour
@pytest.mark.parametrize("life", [2, 30, 60, 3600, "3600", 3600.5])
def test_a_token_is_used_for_many_calls(there: ScriptedShield, life: Any, colour: str) -> None:
    """Defect J: a short-lived one too."""
    there.life = life
    client = there.client()
    for _ in range(5):
        assert call(colour, client, "guard.evaluate_prompt", "x").allowed
    assert len(there.exchanges) == 1


@pytest.mark.parametrize(("life", "kept", "replaced"), [(3600, 3539, 3541), (100, 49, 51), (30, 14, 16)])
def test_it_is_replaced_in_time(
    there: ScriptedShield, life: int, kept: float, replaced: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.life = life
    with there.client() as client:
        for passed, expected in ((0, "token-1"), (kept, "token-1"), (replaced, "token-2")):
            later(monkeypatch, passed)
            client.guard.evaluate_prompt("x")
            assert there.asked[-1].headers["authorization"] == f"Bearer {expected}"


@pytest.mark.parametrize("skew", [-86_400, 86_400])
def test_a_clock_that_is_wrong_does_no_harm(there: ScriptedShield, skew: int) -> None:
    now = time.time() + skew
    without_life = {"access_token": jwt(iat=now, exp=now + 600)}
    there.tokens = [json_answer(without_life)]
    with there.client() as client, there.client(api_key=jwt(exp=now - 10)) as bearer:
        for _ in range(3):
            client.guard.evaluate_prompt("x")
        # Whether a token is still good is for Shield to say.
        assert bearer.guard.evaluate_prompt("x").allowed
    assert len(there.exchanges) == 1


class TestRefusals:
    @each_colour
    def test_a_401_has_the_token_exchanged_anew_once(self, there: ScriptedShield, colour: str) -> None:
        """Defect C: a token that was withdrawn is replaced, not used until it ends."""
        client = there.client()
        assert call(colour, client, "guard.evaluate_prompt", "x").allowed
        there.answers = [problem(401), json_answer(ALLOW)]
        assert call(colour, client, "guard.evaluate_prompt", "x").allowed
        assert [seen.headers["authorization"] for seen in there.asked] == [
            "Bearer token-1",
            "Bearer token-1",
            "Bearer token-2",
        ]
        first, second = (seen.headers["idempotency-key"] for seen in there.asked[1:])
        assert first == second

    @each_colour
    def test_a_second_401_is_an_error(self, there: ScriptedShield, colour: str) -> None:
        there.answers = [problem(401)]
        with pytest.raises(AuthenticationError) as caught:
            call(colour, there.client(), "guard.evaluate_prompt", "x")
        assert not caught.value.forgivable
        assert (len(there.asked), len(there.exchanges)) == (2, 2)

    def test_a_bearer_is_not_tried_twice(self, there: ScriptedShield) -> None:
        there.answers = [problem(401)]
        with there.client(api_key="eyJ0") as client, pytest.raises(AuthenticationError):
            client.guard.evaluate_prompt("x")
        assert len(there.asked) == 1

    def test_many_callers_that_are_refused_make_one_exchange(self, there: ScriptedShield) -> None:
        gate = threading.Barrier(8)
        client = there.client()
        client.guard.evaluate_prompt("x")

        def refuse_the_first(seen: Seen) -> Answer:
            if seen.headers["authorization"] == "Bearer token-1":
                gate.wait(5)
                return problem(401)(seen)
            return json_answer(ALLOW)(seen)

        there.answers = [refuse_the_first]
        found = together(8, lambda: client.guard.evaluate_prompt("x").allowed)
        assert found == [True] * 8
        assert len(there.exchanges) == 2


def together(count: int, ask: Callable[[], Any]) -> list[Any]:
    """What so many threads, asking at once, come back with."""
    found: list[Any] = [None] * count
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait(5)
        try:
            found[index] = ask()
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


class TestOneFlight:
    def test_threads_and_loops_share_one_exchange(self, there: ScriptedShield) -> None:
        """Defect J: eight threads, four of them with event loops of their own and tasks in them: one exchange."""
        there.tokens = [slow(0.3, json_answer(token("shared")))]
        client = there.client()

        async def several() -> list[bool]:
            verdicts = await asyncio.gather(*(client.guard.aevaluate_prompt("x") for _ in range(4)))
            await client.aclose()
            return [verdict.allowed for verdict in verdicts]

        turn = iter(range(8))
        lock = threading.Lock()

        def ask() -> Any:
            with lock:
                index = next(turn)
            return asyncio.run(several()) if index % 2 else [client.guard.evaluate_prompt("x").allowed]

        found = together(8, ask)
        client.close()
        assert sorted(map(len, found)) == [1] * 4 + [4] * 4
        assert all(all(item) for item in found)
        assert len(there.exchanges) == 1
        assert {seen.headers["authorization"] for seen in there.asked} == {"Bearer shared"}

    def test_a_slow_exchange_on_a_thread_does_not_hold_up_a_loop(self, there: ScriptedShield) -> None:
        """Defect I: no lock is held while the token endpoint is waited for."""
        there.tokens = [slow(0.8, json_answer(token("shared")))]
        client = there.client()
        thread = threading.Thread(target=lambda: client.guard.evaluate_prompt("x"))

        async def main() -> tuple[float, bool]:
            thread.start()
            while not there.exchanges:
                await asyncio.sleep(0.01)
            longest, last = 0.0, time.monotonic()
            asking = asyncio.ensure_future(client.guard.aevaluate_prompt("x"))
            while not asking.done():
                await asyncio.sleep(0.005)
                now = time.monotonic()
                longest, last = max(longest, now - last), now
            verdict = await asking
            await client.aclose()
            return longest, verdict.allowed

        longest, allowed = asyncio.run(main())
        thread.join(5)
        client.close()
        assert allowed
        assert longest < 0.4, "the loop stood still"
        assert len(there.exchanges) == 1

    def test_who_waits_does_so_no_longer_than_his_own_time(self, there: ScriptedShield) -> None:
        there.tokens = [slow(1.5, json_answer(token("late")))]
        client = there.client()
        leader = threading.Thread(target=lambda: client.guard.evaluate_prompt("x"))
        leader.start()
        while not there.exchanges:
            time.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(GuardTimeoutError, match="no token came"):
            client.guard.evaluate_prompt("x", timeout=0.2)
        assert time.monotonic() - began < 0.8
        leader.join(5)
        client.close()

    @pytest.mark.parametrize("end", ["cancelled", "out of time"])
    def test_when_the_first_leaves_the_next_takes_over(self, there: ScriptedShield, end: str) -> None:
        there.tokens = [lambda seen: Answer(200, hang=True), json_answer(token("second"))]
        client = there.client()

        async def main() -> bool:
            given = {"timeout": 0.4} if end == "out of time" else {}
            first = asyncio.ensure_future(client.guard.aevaluate_prompt("x", **given))
            while not there.exchanges:
                await asyncio.sleep(0.01)
            second = asyncio.ensure_future(client.guard.aevaluate_prompt("x"))
            await asyncio.sleep(0.1)
            if end == "cancelled":
                first.cancel()
            with pytest.raises((asyncio.CancelledError, GuardTimeoutError)):
                await first
            verdict = await second
            await client.aclose()
            return verdict.allowed

        assert asyncio.run(main())
        assert len(there.exchanges) == 2

    def test_a_rejection_is_everybodys(self, there: ScriptedShield) -> None:
        there.tokens = [slow(0.3, json_answer({"error": "invalid_grant"}, 400))]
        client = there.client()
        found = together(6, lambda: client.guard.evaluate_prompt("x"))
        client.close()
        assert {type(item) for item in found} == {AuthenticationError}
        assert len({id(item) for item in found}) == 6
        assert len(there.exchanges) == 1

    def test_an_exchange_that_nobody_ends_is_not_waited_for_for_ever(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = there.client()
        credentials = client._service.credentials
        credentials._flight = Flight()  # type: ignore[attr-defined]
        monkeypatch.setattr("highflame_middleware.shield.flights.monotonic", lambda: time.monotonic() + 61)
        with client:
            assert client.guard.evaluate_prompt("x").allowed


FAULTS: dict[str, tuple[Any, type[HighflameError], bool]] = {
    "a rejected key": (json_answer({"error": "invalid_grant"}, 400), AuthenticationError, False),
    "an unknown client": (json_answer({"error": "invalid_client"}, 401), AuthenticationError, False),
    "a bad request": (json_answer({"error": "invalid_request"}, 400), APIError, False),
    "401": (problem(401), AuthenticationError, False),
    "500": (problem(500), APIError, True),
    "a page": (html(502), APIError, True),
    "a page that says well": (html(200), InvalidResponseError, True),
    "no token": (json_answer({"expires_in": 3600}), InvalidResponseError, True),
    "a token with a line end": (json_answer({"access_token": "a\r\nb: c"}), InvalidResponseError, True),
    "a token of another kind": (json_answer({"access_token": ["t"]}), InvalidResponseError, True),
    "an endless token": (json_answer({"access_token": "t" * 20_000}), InvalidResponseError, True),
    "a broken connection": (lambda seen: Answer(200, length=9, cut=True), APIConnectionError, True),
}


class TestFaults:
    @each_colour
    @pytest.mark.parametrize("name", FAULTS)
    def test_each_is_an_error_of_its_own(self, there: ScriptedShield, name: str, colour: str) -> None:
        answer, kind, forgivable = FAULTS[name]
        there.tokens = [answer]
        with there.client(max_retries=1) as client, pytest.raises(kind) as caught:
            call(colour, client, "guard.evaluate_prompt", "x")
        assert type(caught.value) is kind
        assert caught.value.forgivable is forgivable  # type: ignore[attr-defined]
        assert KEY not in str(caught.value)
        assert there.asked == []

    def test_nobody_there(self, there: ScriptedShield) -> None:
        with there.client(token_url="http://127.0.0.1:9/token") as client, pytest.raises(APIConnectionError):
            client.guard.evaluate_prompt("x")

    @each_colour
    @pytest.mark.parametrize("fault", ["down", "hanging", "500"])
    def test_what_is_held_is_used_while_it_is_good(
        self, there: ScriptedShield, fault: str, colour: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.life = 100
        client = there.client()
        assert call(colour, client, "guard.evaluate_prompt", "x").allowed
        later(monkeypatch, 60)
        there.tokens = [
            {"down": html(503), "hanging": lambda seen: Answer(200, hang=True), "500": problem(500)}[fault]
        ]
        began = time.monotonic()
        assert call(colour, client, "guard.evaluate_prompt", "x", timeout=1.0).allowed
        tried = len(there.exchanges)
        assert call(colour, client, "guard.evaluate_prompt", "x", timeout=1.0).allowed
        assert len(there.exchanges) == tried, "the next call need not try again"
        assert time.monotonic() - began < 2.0
        later(monkeypatch, 101)
        with pytest.raises(HighflameError):
            call(colour, client, "guard.evaluate_prompt", "x", timeout=0.3)

    def test_a_key_that_is_withdrawn_is_not_used_on(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.life = 100
        with there.client() as client:
            client.guard.evaluate_prompt("x")
            later(monkeypatch, 60)
            there.tokens = [json_answer({"error": "invalid_grant"}, 400)]
            with pytest.raises(AuthenticationError):
                client.guard.evaluate_prompt("x")


@pytest.mark.parametrize(
    ("said", "life"),
    [
        (120, 120),
        ("120", 120),
        (0, 1),
        (-5, 1),
        (1e9, 86_400),
        (None, 60),
        (float("nan"), 60),
        (True, 60),
        ([], 60),
    ],
)
def test_whatever_is_said_of_its_life_a_token_has_one(said: Any, life: float) -> None:
    began = time.monotonic()
    ticket = read_ticket({"access_token": "t", "expires_in": said})
    assert ticket.spent_at - began == pytest.approx(life, abs=0.5)
    assert began <= ticket.stale_at <= ticket.spent_at


def test_ids_that_no_header_could_carry_are_left_out() -> None:
    ticket = read_ticket({"access_token": "t", "account_id": "a\r\nb", "project_id": "ö"})
    assert (ticket.account_id, ticket.project_id) == (None, None)


def test_a_client_shows_no_token(there: ScriptedShield) -> None:
    client: Highflame = there.client()
    client.guard.evaluate_prompt("x")
    shown = repr(vars(client._service.credentials)) + repr(client._service.credentials)
    client.close()
    assert "token-1" not in shown
    assert KEY not in shown
