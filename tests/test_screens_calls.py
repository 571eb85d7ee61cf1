"""Tool calls in replies, and the responses API, which says everything twice or more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware import GuardRequest, GuardResponse
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import perform
from highflame_middleware.errors import BlockedError
from highflame_middleware.exchange import Exchange
from highflame_middleware.flow import run
from highflame_middleware.screens import EventScreen
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision
from tests.chats import (
    CHUNKINGS,
    DONE,
    JSON,
    called,
    chunk,
    event,
    message,
    reply,
    spoken,
    stream,
    tool_call,
    whole,
)
from tests.exchanges import (
    Passed,
    decisions,
    decoded,
    exchange,
    screened,
)
from tests.windows import WindowedGuard

# ------------------------------------------------------------------------------------------------- tool calls


class ToolGuard(FakeGuard):
    """Denies calls of one tool, whatever their arguments."""

    def __init__(self, tool: str) -> None:
        super().__init__()
        self._tool = tool

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.requests.append(request)
        denied = request.stage == "tool_call" and request.tool is not None and request.tool.name == self._tool
        return GuardResponse(decision=Decision.DENY if denied else Decision.ALLOW)


@pytest.mark.parametrize("setting", ["buffer", "sentence", "passthrough"])
@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_arguments_are_held_until_they_are_whole(guard: Any, setting: str) -> None:
    owner = exchange(guard(), stream=setting)
    screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
    events = stream(*called('{"to": ', '"ada"', "}"), chunk(finish="tool_calls"))
    out = [run(screen.feed(event), perform) for event in events]
    assert out == [events[0], b"", b"", b"", b"", b"".join(events[1:-1]), DONE]
    (request,) = owner.policy.guard.evaluate.__self__.requests  # type: ignore[union-attr]
    assert (request.content, request.tool.name, request.tool.arguments) == ('{"to": "ada"}', "pay", {"to": "ada"})


DENIED_CALLS: dict[str, list[dict[str, Any]]] = {
    "with arguments": [*called('{"to": "ada"}'), chunk(finish="tool_calls")],
    "with none": [*called(), chunk(finish="tool_calls")],
    "the second of two": [*called("{}", name="find"), *called("{}", number=1), chunk(finish="tool_calls")],
    "two that are both number 0": [
        *called("{}", name="find"),
        chunk(tool_calls=[{"index": 0, "id": "other", "function": {"name": "pay", "arguments": "{}"}}]),
        chunk(finish="tool_calls"),
    ],
    "after a text": [*spoken("I will pay."), *called("{}"), chunk(finish="tool_calls")],
    "without an end": called("{}"),
}


@pytest.mark.parametrize("name", DENIED_CALLS)
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_denied_tool_is_not_called(name: str, chunking: str) -> None:
    content = b"".join(stream(*DENIED_CALLS[name]))
    out = screened(exchange(ToolGuard("pay")), CHUNKINGS[chunking](content))
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.stage == "tool_call"
    assert b'"pay"' not in out.content
    assert b'finish_reason":"tool_calls' not in out.content


@pytest.mark.parametrize("arguments", ['{"to": "ada"}', "{}", "", None, {"to": "ada"}])
def test_a_denied_tool_is_not_called_in_one_piece(arguments: Any) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": arguments}}]
    out = screened(exchange(ToolGuard("pay")), [reply(None, tool_calls=calls)], JSON)
    assert isinstance(out.stopped, BlockedError)
    assert out.content == b""


def test_arguments_are_redacted_as_long_as_they_stay_json() -> None:
    content = stream(*called('{"card": "41', '11", "n": 1}'), chunk(finish="tool_calls"))
    out = screened(exchange(FakeGuard(redact=["4111"])), content)
    arguments = "".join(
        call["function"]["arguments"]
        for data in decoded(out.content)
        for call in data["choices"][0]["delta"].get("tool_calls", [])
    )
    assert json.loads(arguments) == {"card": "[redacted]", "n": 1}
    broken = screened(exchange(FakeGuard(redact=['"4111"'])), content)
    assert isinstance(broken.stopped, BlockedError)
    assert b"41" not in broken.content


# ------------------------------------------------------------------------------------------ the responses API


def responses(owner_of: Any, events: list[bytes], **policy: Any) -> tuple[Exchange, Passed]:
    owner = exchange(owner_of, codec="openai-responses", path="/v1/responses", **policy)
    return owner, screened(owner, events)


def texts_in(content: bytes) -> list[str]:
    """Every string of a stream's data."""

    def strings(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [found for item in below for found in strings(item)]

    return [text for data in decoded(content) for text in strings(data)]


@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_what_a_stream_says_again_is_edited_again(guard: Any, chunking: str) -> None:
    events, item = message("The SEC", "RET is", " out.")
    content = b"".join([event("created", response={"id": "resp_1", "output": []}), *events, whole(item)])
    owner, out = responses(guard(redact=["SECRET"]), CHUNKINGS[chunking](content))
    assert out.error is None
    assert b"SECRET" not in out.content
    edited = "The [redacted] is out."
    assert texts_in(out.content).count(edited) == (4 if guard is WindowedGuard else 5), "done, part, item, response"
    deltas = [data["delta"] for data in decoded(out.content) if data["type"] == "response.output_text.delta"]
    assert "".join(deltas) == edited
    done = decoded(out.content)[-1]["response"]["output"][0]["content"][0]
    assert done == {"type": "output_text", "text": edited, "annotations": [], "logprobs": None}
    assert decisions(owner) == [("response", "modify", True)], "judged once, however often it is said"


def test_a_stream_of_which_nothing_is_changed_is_judged_once_and_stays() -> None:
    events, item = message("Hel", "lo")
    calls, call = tool_call("find", '{"q": 1}', place=1)
    content = [*events, *calls, whole(item, call)]
    guard = FakeGuard()
    _, out = responses(guard, content)
    assert out.content == b"".join(content)
    assert [(asked.stage.value, asked.content) for asked in guard.requests] == [
        ("response", "Hello"),
        ("tool_call", '{"q": 1}'),
    ]


def test_a_tool_call_of_the_responses_api_is_held_until_it_is_whole() -> None:
    events, item = tool_call("find", '{"q": 1}')
    screen = EventScreen(exchange(FakeGuard(), codec="openai-responses"), load_codec("openai-responses"), FRAMING)
    out = [run(screen.feed(part), perform) for part in [*events, whole(item)]]
    assert [bool(part) for part in out] == [True, False, False, True, True, True]


FOUND = tool_call("find", "{}")[0]
REPEATED: dict[str, list[bytes]] = {
    "a call with arguments that another was allowed": [*FOUND, *tool_call("pay", "{}", place=1)[0]],
    "the same, not streamed": [*FOUND, *tool_call("pay", "{}", place=1, deltas=False)[0]],
    "the same, in the end only": [*FOUND, whole(tool_call("pay", "{}")[1])],
    "arguments that were said as text": [*message("{}")[0], *tool_call("pay", "{}", place=1, deltas=False)[0]],
    "a call with nothing": tool_call("pay", "", deltas=False)[0],
    "a call with nothing, after another's": [
        *tool_call("find", "", deltas=False)[0],
        *tool_call("pay", "", place=1, deltas=False)[0],
    ],
}


@pytest.mark.parametrize("name", REPEATED)
def test_words_that_were_allowed_elsewhere_are_not_allowed_here(name: str) -> None:
    owner, out = responses(ToolGuard("pay"), REPEATED[name])
    assert isinstance(out.stopped, BlockedError)
    assert decisions(owner)[-1] == ("tool_call", "deny", True)
    ended = [data for data in decoded(out.content) if data["type"].endswith((".done", ".completed"))]
    assert "pay" not in json.dumps(ended)
    assert len(out.content) < len(b"".join(REPEATED[name]))


def test_a_denied_shell_command_is_held_while_it_is_written() -> None:
    where = {"output_index": 0, "command_index": 0}
    item = {"type": "shell_call", "id": "sh", "action": {"commands": ["rm -rf /"]}}
    events = [
        event(
            "output_item.added", output_index=0, item={"type": "shell_call", "id": "sh", "action": {"commands": []}}
        ),
        event("shell_call_command.added", **where, command=""),
        event("shell_call_command.delta", **where, delta="rm -"),
        event("shell_call_command.delta", **where, delta="rf /"),
        event("shell_call_command.done", **where, command="rm -rf /"),
        event("output_item.done", output_index=0, item=item),
    ]
    _, out = responses(FakeGuard(deny=["rm -rf"]), events)
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.stage == "tool_call"
    assert b"rf" not in out.content


def test_a_text_that_comes_whole_only_is_judged_where_it_stands() -> None:
    item = message("The SECRET")[1]
    for guard, expected in ((FakeGuard(redact=["SECRET"]), "The [redacted]"), (FakeGuard(deny=["SECRET"]), None)):
        _, out = responses(guard, [event("in_progress", response={"id": "r"}), whole(item)])
        if expected is None:
            assert isinstance(out.stopped, BlockedError)
            assert b"completed" not in out.content
        else:
            assert texts_in(out.content).count(expected) == 1
        assert b"SECRET" not in out.content.replace(b'"token": "The SECRET"', b"")
