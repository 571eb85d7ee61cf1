"""The real openai SDK on what is translated for it: replies, streams and its helpers, and the calls it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from highflame_middleware.codecs import framing_for
from highflame_middleware.translation import StreamTranslation, load_translator, translate_call, translate_reply
from highflame_middleware.translation.conversation import (
    ArgumentsDelta,
    Ended,
    Finish,
    Opened,
    Reply,
    TextDelta,
    TextPart,
    ToolCallOpened,
    Usage,
)
from tests.servers import Answer, Seen, Server, running
from tests.translation.conversations import REPLIES
from tests.translation.formats import FORMATS, Format
from tests.translation.hearing import deltas_of, hear_call, hear_reply
from tests.translation.test_every_pair import expected_reply, open_translation, through_wire, written

CHAT, RESPONSES = (next(row for row in FORMATS if row.name == name) for name in ("openai-chat", "openai-responses"))
each_source = pytest.mark.parametrize("source", [pytest.param(row, id=row.name) for row in FORMATS])
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
TEXTUAL = ("a text", "cut short", "a tool called", "tools called at once", "from the cache", "refused", "thought")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def answer_with(server: Server, source: Format, target: Format, reply: Reply) -> None:
    """Answer as a gateway that has the reply in one format and a client of another."""

    def respond(seen: Seen) -> Answer:
        first = load_translator(source.name)
        if not seen.json.get("stream"):
            body = translate_reply(through_wire(first.write_reply(reply)), source.name, target.name, model="m-1")
            return Answer(chunks=[json.dumps(body).encode()])
        content = written(first, deltas_of(reply))
        return streamed(open_translation(source, target), content)

    server.respond = respond


def streamed(translation: StreamTranslation, content: bytes) -> Answer:
    half = len(content) // 2
    chunks = [translation.feed(content[:half]), translation.feed(content[half:]), translation.finish()]
    return Answer(200, (("content-type", translation.content_type),), [chunk for chunk in chunks if chunk])


def heard_of(target: Format, dumped: Any) -> Any:
    """What the SDK's own objects say, read from them as JSON again."""
    return hear_reply(load_translator(target.name).read_reply(dumped))


@each_source
@pytest.mark.parametrize("case", TEXTUAL)
def test_chat(server: Server, client: openai.OpenAI, source: Format, case: str) -> None:
    answer_with(server, source, CHAT, REPLIES[case])
    completion = client.chat.completions.create(model="m-1", messages=MESSAGES)
    assert heard_of(CHAT, completion.model_dump()) == expected_reply(source, CHAT, case)
    assert completion.choices[0].finish_reason in ("stop", "length", "tool_calls", "content_filter")


@each_source
@pytest.mark.parametrize("case", TEXTUAL)
def test_chat_streamed(server: Server, client: openai.OpenAI, source: Format, case: str) -> None:
    answer_with(server, source, CHAT, REPLIES[case])
    said = ""
    for chunk in client.chat.completions.create(model="m-1", messages=MESSAGES, stream=True):
        # The usual loop, which has no thought of chunks without a choice.
        said += chunk.choices[0].delta.content or ""
    assert [["text", said]] == [
        part for part in expected_reply(source, CHAT, case)["parts"] if part[0] == "text"
    ] or not said


@each_source
@pytest.mark.parametrize("case", ["a text", "a tool called", "tools called at once", "refused", "from the cache"])
def test_the_chat_stream_helper(server: Server, client: openai.OpenAI, source: Format, case: str) -> None:
    answer_with(server, source, CHAT, REPLIES[case])
    options: Any = {"include_usage": True}
    filtered = expected_reply(source, CHAT, case)["finish"] == "content_filter"
    with client.chat.completions.stream(model="m-1", messages=MESSAGES, stream_options=options) as stream:
        if filtered:
            # Where a refusal is a reason and no text of its own: the SDK makes an error of a filter's work.
            with pytest.raises(openai.ContentFilterFinishReasonError):
                stream.get_final_completion()
            return
        kinds = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert heard_of(CHAT, completion.model_dump()) == expected_reply(source, CHAT, case)
    assert kinds[0] == "chunk"


def test_chat_usage_comes_as_the_call_asks(server: Server, client: openai.OpenAI) -> None:
    """By itself where it was asked for; else with the reason, so that each chunk has a choice."""

    def respond(seen: Seen) -> Answer:
        framing = framing_for("text/event-stream")
        assert framing is not None
        content = written(load_translator(RESPONSES.name), deltas_of(REPLIES["a text"]))
        return streamed(StreamTranslation(RESPONSES.name, CHAT.name, framing=framing, call=seen.json), content)

    server.respond = respond
    options: Any = {"include_usage": True}
    asked = list(
        client.chat.completions.create(model="m-1", messages=MESSAGES, stream=True, stream_options=options)
    )
    assert [len(chunk.choices) for chunk in asked[-2:]] == [1, 0]
    assert asked[-2].usage is None
    assert asked[-1].usage is not None
    assert asked[-1].usage.total_tokens == 29
    unasked = list(client.chat.completions.create(model="m-1", messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in unasked)
    assert unasked[-1].usage is not None


@each_source
@pytest.mark.parametrize("case", TEXTUAL)
def test_responses(server: Server, client: openai.OpenAI, source: Format, case: str) -> None:
    answer_with(server, source, RESPONSES, REPLIES[case])
    response = client.responses.create(model="m-1", input="Hi")
    assert heard_of(RESPONSES, response.model_dump()) == expected_reply(source, RESPONSES, case)
    texts = [part[1] for part in expected_reply(source, RESPONSES, case)["parts"] if part[0] == "text"]
    assert response.output_text == "".join(texts)


@each_source
@pytest.mark.parametrize("case", TEXTUAL)
def test_the_responses_stream_helper(server: Server, client: openai.OpenAI, source: Format, case: str) -> None:
    """The helper collects the items from the pieces, and has the whole response at the end."""
    answer_with(server, source, RESPONSES, REPLIES[case])
    with client.responses.stream(model="m-1", input="Hi") as stream:
        events = list(stream)
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert heard_of(RESPONSES, last.response.model_dump()) == expected_reply(source, RESPONSES, case)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    if last.type == "response.completed":
        assert stream.get_final_response().output_text == last.response.output_text
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == last.response.output_text
    by_item: dict[int, str] = {}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            by_item[event.output_index] = by_item.get(event.output_index, "") + event.delta
    calls = {place: item for place, item in enumerate(last.response.output) if item.type == "function_call"}
    assert by_item == {place: item.arguments for place, item in calls.items()}
    done = {event.output_index: event for event in events if event.type == "response.function_call_arguments.done"}
    assert {place: (event.name, event.arguments) for place, event in done.items()} == {
        place: (item.name, item.arguments) for place, item in calls.items()
    }


@pytest.mark.parametrize("source", [CHAT, RESPONSES], ids=["openai-chat", "openai-responses"])
def test_calls_that_come_by_turns(server: Server, client: openai.OpenAI, source: Format) -> None:
    """Pieces of two tool calls' arguments may alternate; text may come after a call."""
    deltas = [
        Opened(id="r-1", model="m-1"),
        ToolCallOpened(0, "call_a", "weather"),
        ToolCallOpened(1, "call_b", "clock"),
        ArgumentsDelta(0, '{"city":'),
        ArgumentsDelta(1, "{"),
        ArgumentsDelta(0, '"Bern"}'),
        ArgumentsDelta(1, "}"),
        TextDelta("Done."),
        Finish("tool_calls", Usage(input=1, output=2)),
        Ended(),
    ]
    content = written(load_translator(source.name), deltas)
    server.respond = lambda seen: streamed(open_translation(source, RESPONSES), content)
    with client.responses.stream(model="m-1", input="Hi") as stream:
        response = stream.get_final_response()
    assert [item.type for item in response.output] == ["function_call", "function_call", "message"]
    assert [getattr(item, "arguments", None) for item in response.output] == ['{"city":"Bern"}', "{}", None]
    server.respond = lambda seen: streamed(open_translation(source, CHAT), content)
    with client.chat.completions.stream(model="m-1", messages=MESSAGES) as chat:
        message = chat.get_final_completion().choices[0].message
    assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city":"Bern"}', "{}"]
    assert message.content == "Done."


class Weather(BaseModel):
    city: str


@each_source
def test_structured_output(server: Server, client: openai.OpenAI, source: Format) -> None:
    """`parse` asks by a schema that every format can be asked by, and finds its object in the answer."""
    reply = Reply(id="r-1", model="m-1", parts=(TextPart(text='{"city":"Bern"}'),), finish="stop")
    answer_with(server, source, RESPONSES, reply)
    parsed = client.responses.parse(model="m-1", input="Hi", text_format=Weather)
    assert parsed.output_parsed == Weather(city="Bern")
    answer_with(server, source, CHAT, reply)
    completion = client.chat.completions.parse(model="m-1", messages=MESSAGES, response_format=Weather)
    assert completion.choices[0].message.parsed == Weather(city="Bern")
    bodies = [seen.json for seen in server.log]
    for body, posted in zip(bodies, (RESPONSES, CHAT), strict=True):
        heard = hear_call(load_translator(posted.name).read_call(body, posted.path))
        assert heard["output_schema"]["required"] == ["city"]
        assert heard["output_name"] == "Weather"
        assert heard["output_strict"] is True


@each_source
async def test_without_blocking(server: Server, source: Format) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer_with(server, source, RESPONSES, REPLIES["a tool called"])
        async with client.responses.stream(model="m-1", input="Hi") as stream:
            response = await stream.get_final_response()
        assert [item.type for item in response.output] == ["message", "function_call"]
        answer_with(server, source, CHAT, REPLIES["a tool called"])
        async with client.chat.completions.stream(model="m-1", messages=MESSAGES) as chat:
            completion = await chat.get_final_completion()
        assert completion.choices[0].finish_reason == "tool_calls"


@each_source
def test_a_stream_that_fails_is_an_error(server: Server, client: openai.OpenAI, source: Format) -> None:
    content = written(load_translator(source.name), [*deltas_of(REPLIES["a text"])[:2], Ended(error="overloaded")])
    server.respond = lambda seen: streamed(open_translation(source, CHAT), content)
    with pytest.raises(openai.APIError, match="overloaded"):
        for _ in client.chat.completions.create(model="m-1", messages=MESSAGES, stream=True):
            pass
    server.respond = lambda seen: streamed(open_translation(source, RESPONSES), content)
    with pytest.raises(openai.APIError, match="overloaded"):
        for _ in client.responses.create(model="m-1", input="Hi", stream=True):
            pass


@each_source
def test_what_the_sdk_sends_can_be_said_in_every_format(
    server: Server, client: openai.OpenAI, source: Format
) -> None:
    """Two turns of the same conversation with a tool, as the SDK writes it to the wire."""
    tool: Any = {"name": "weather", "description": "Tells it", "parameters": {"type": "object", "properties": {}}}
    answer_with(server, CHAT, CHAT, REPLIES["a tool called"])
    first = client.chat.completions.create(
        model="m-1", messages=MESSAGES, tools=[{"type": "function", "function": tool}], max_completion_tokens=50
    )
    message: Any = first.choices[0].message
    again: Any = [*MESSAGES, message, {"role": "tool", "tool_call_id": "call_a", "content": "rain"}]
    client.chat.completions.create(model="m-1", messages=again, tools=[{"type": "function", "function": tool}])
    answer_with(server, RESPONSES, RESPONSES, REPLIES["a tool called"])
    response = client.responses.create(model="m-1", input="Hi", tools=[{"type": "function", **tool}])
    items: Any = [
        {"role": "user", "content": "Hi"},
        *response.output,
        {"type": "function_call_output", "call_id": "call_a", "output": "rain"},
    ]
    client.responses.create(model="m-1", input=items, tools=[{"type": "function", **tool}])
    assert len(server.log) == 4
    for number, seen in enumerate(server.log):
        spoken = CHAT if number < 2 else RESPONSES
        written_call = translate_call(seen.json, seen.path, spoken.name, source.name)
        heard = hear_call(load_translator(source.name).read_call(through_wire(written_call.body), source.path))
        kinds = [said[1] for said in heard["turns"]]
        assert kinds == (["text"] if number in (0, 2) else ["text", "text", "call", "result"])
        assert heard["tools"][0]["name"] == "weather"
