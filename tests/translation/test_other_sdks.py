"""The real SDKs of Anthropic, Google and Amazon on what is translated for them, and the calls that they make."""

from __future__ import annotations

import base64
import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from pydantic import BaseModel

from highflame_middleware.translation import load_translator, translate_call, translate_reply
from highflame_middleware.translation.conversation import (
    ArgumentsDelta,
    Delta,
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
from tests.translation.conversations import PIXEL, REPLIES, SCHEMA
from tests.translation.formats import FORMATS, Format
from tests.translation.hearing import Heard, collect, deltas_of, hear_call, hear_reply
from tests.translation.test_every_pair import expected_reply, open_translation, through_wire, written

ROWS = {row.name: row for row in FORMATS}
CASES = sorted(REPLIES)
TOOL = {"name": "weather", "description": "Tells the weather"}


@dataclass(frozen=True)
class Speaker:
    """An SDK as it is used: what it hears of a reply, whole and in pieces, and a conversation with tools."""

    format: str
    hear: Callable[[str], Heard]
    hear_stream: Callable[[str], Heard]
    talk: Callable[[str], None]
    errors: tuple[type[Exception], ...]


# -- anthropic


def _claude(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def _hear_anthropic(url: str) -> Heard:
    with _claude(url) as client:
        message = client.messages.create(model="m-1", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    return hear_reply(load_translator("anthropic-messages").read_reply(message.model_dump()))


def _hear_anthropic_stream(url: str) -> Heard:
    """The helper collects the message from the pieces; its events must be those of one that it knows."""
    question: Any = [{"role": "user", "content": "Hi"}]
    with _claude(url) as client, client.messages.stream(model="m-1", max_tokens=9, messages=question) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == len(message.content)
    return hear_reply(load_translator("anthropic-messages").read_reply(message.model_dump()))


def _talk_anthropic(url: str) -> None:
    tools: Any = [{**TOOL, "input_schema": SCHEMA}]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Here?"}, image]}]
    with _claude(url) as client:
        given: Any = {"model": "m-1", "max_tokens": 90, "system": "Be brief.", "tools": tools}
        first = client.messages.create(messages=messages, **given)
        called = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in called]
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        client.messages.create(messages=messages, **given)


# -- google-genai


def _gemini(url: str) -> genai.Client:
    return genai.Client(api_key="none", http_options=genai_types.HttpOptions(base_url=url))


def _dumped(response: Any) -> Any:
    return response.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response"})


def _hear_gemini(url: str) -> Heard:
    with _gemini(url) as client:
        response = client.models.generate_content(model="m-1", contents="Hi")
    return hear_reply(load_translator("gemini").read_reply(_dumped(response)))


def _hear_gemini_stream(url: str) -> Heard:
    reader = load_translator("gemini").read_stream()
    deltas: list[Delta] = []
    with _gemini(url) as client:
        for response in client.models.generate_content_stream(model="m-1", contents="Hi"):
            deltas += reader.read(_dumped(response), None)
    return hear_reply(collect([*deltas, *reader.finish()]))


def _talk_gemini(url: str) -> None:
    tool = genai_types.Tool(
        function_declarations=[
            genai_types.FunctionDeclaration(**TOOL, parameters=genai_types.Schema(**_openapi(SCHEMA)))
        ]
    )
    config = genai_types.GenerateContentConfig(system_instruction="Be brief.", tools=[tool], max_output_tokens=90)
    image = genai_types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    contents: Any = [genai_types.Content(role="user", parts=[genai_types.Part(text="Here?"), image])]
    with _gemini(url) as client:
        first = client.models.generate_content(model="m-1", contents=contents, config=config)
        assert first.candidates
        said = first.candidates[0].content
        results = [
            genai_types.Part(
                function_response=genai_types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": "rain"}
                )
            )
            for call in first.function_calls or ()
        ]
        contents += [said, genai_types.Content(role="user", parts=results)]
        client.models.generate_content(model="m-1", contents=contents, config=config)


def _openapi(schema: Any) -> Any:
    """The schema as Google's own dialect has it."""
    return {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": schema["required"]}


# -- boto3


def _bedrock(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


_QUESTION = [{"role": "user", "content": [{"text": "Hi"}]}]


def _hear_converse(url: str) -> Heard:
    response = _bedrock(url).converse(modelId="m-1", messages=_QUESTION)
    response.pop("ResponseMetadata")
    return hear_reply(load_translator("bedrock-converse").read_reply(response))


def _hear_converse_stream(url: str) -> Heard:
    reader = load_translator("bedrock-converse").read_stream()
    deltas: list[Delta] = []
    for event in _bedrock(url).converse_stream(modelId="m-1", messages=_QUESTION)["stream"]:
        ((name, data),) = event.items()
        deltas += reader.read(data, name)
    return hear_reply(collect([*deltas, *reader.finish()]))


def _talk_converse(url: str) -> None:
    client = _bedrock(url)
    image = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}}
    messages: Any = [{"role": "user", "content": [{"text": "Here?"}, image]}]
    given: Any = {
        "modelId": "m-1",
        "system": [{"text": "Be brief."}],
        "toolConfig": {"tools": [{"toolSpec": {**TOOL, "inputSchema": {"json": SCHEMA}}}]},
        "inferenceConfig": {"maxTokens": 90},
    }
    said = client.converse(messages=messages, **given)["output"]["message"]
    calls = [block["toolUse"]["toolUseId"] for block in said["content"] if "toolUse" in block]
    results = [{"toolResult": {"toolUseId": call, "content": [{"text": "rain"}]}} for call in calls]
    client.converse(messages=[*messages, said, {"role": "user", "content": results}], **given)


SPEAKERS = (
    Speaker(
        "anthropic-messages",
        _hear_anthropic,
        _hear_anthropic_stream,
        _talk_anthropic,
        (anthropic.APIStatusError,),
    ),
    Speaker("gemini", _hear_gemini, _hear_gemini_stream, _talk_gemini, (genai_errors.APIError,)),
    Speaker(
        "bedrock-converse",
        _hear_converse,
        _hear_converse_stream,
        _talk_converse,
        (botocore.exceptions.EventStreamError,),
    ),
)
each_speaker = pytest.mark.parametrize("speaker", [pytest.param(row, id=row.format) for row in SPEAKERS])
each_source = pytest.mark.parametrize("source", [pytest.param(row, id=row.name) for row in FORMATS])


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def answer_with(server: Server, source: Format, target: Format, reply: Reply) -> None:
    """Answer as a gateway that has a reply in one format and a client of another."""

    def respond(seen: Seen) -> Answer:
        if "stream" in seen.path.lower() or seen.json.get("stream"):
            return streamed(source, target, deltas_of(reply))
        body = through_wire(load_translator(source.name).write_reply(reply))
        translated = translate_reply(body, source.name, target.name, model="m-1")
        return Answer(chunks=[json.dumps(translated).encode()])

    server.respond = respond


def streamed(source: Format, target: Format, deltas: list[Delta]) -> Answer:
    content = written(load_translator(source.name), deltas)
    translation = open_translation(source, target)
    chunks = [translation.feed(content[at : at + 50]) for at in range(0, len(content), 50)]
    chunks.append(translation.finish())
    return Answer(200, (("content-type", translation.content_type),), [chunk for chunk in chunks if chunk])


@each_speaker
@each_source
@pytest.mark.parametrize("case", CASES)
def test_replies(server: Server, speaker: Speaker, source: Format, case: str) -> None:
    target = ROWS[speaker.format]
    answer_with(server, source, target, REPLIES[case])
    assert speaker.hear(server.url) == expected_reply(source, target, case)


@each_speaker
@each_source
@pytest.mark.parametrize("case", CASES)
def test_streams(server: Server, speaker: Speaker, source: Format, case: str) -> None:
    target = ROWS[speaker.format]
    answer_with(server, source, target, REPLIES[case])
    assert speaker.hear_stream(server.url) == expected_reply(source, target, case)


@each_speaker
@each_source
def test_calls(server: Server, speaker: Speaker, source: Format) -> None:
    """Two turns with a picture and two tools at once, as the SDK writes them, said in every other format."""
    spoken = ROWS[speaker.format]
    answer_with(server, spoken, spoken, REPLIES["tools called at once"])
    speaker.talk(server.url)
    first, second = server.log
    for seen, kinds in (
        (first, ["text", "media"]),
        (second, ["text", "media", "call", "call", "result", "result"]),
    ):
        call = translate_call(seen.json, seen.path, spoken.name, source.name)
        heard = hear_call(load_translator(source.name).read_call(through_wire(call.body), call.path))
        assert [said[1] for said in heard["turns"]] == kinds
        assert heard["system"] == [["system", "text", "Be brief."]]
        assert heard["turns"][1][3:5] == ["image/png", PIXEL]
        assert heard["max_tokens"] == 90
        (tool,) = heard["tools"]
        assert tool["schema"]["properties"]["city"]["type"] == "string"
        if kinds[-1] == "result":
            assert heard["turns"][2][2:] == [0, "weather", {"city": "Bern"}]
            # Each result is found to be that of its call.
            assert [said[2] for said in heard["turns"][4:]] == [0, 1]


@each_speaker
@each_source
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_fails_is_an_error(server: Server, speaker: Speaker, source: Format) -> None:
    target = ROWS[speaker.format]
    broken: list[Delta] = [Opened(id="r-1", model="m-1"), TextDelta("Hel"), Ended(error="overloaded")]
    server.respond = lambda seen: streamed(source, target, broken)
    with pytest.raises(speaker.errors, match="overloaded"):
        speaker.hear_stream(server.url)
    # Google's client leaves the connection of such a stream to the collector.
    gc.collect()


@each_speaker
def test_tool_calls_that_come_by_turns(server: Server, speaker: Speaker) -> None:
    """Pieces of two calls' arguments may alternate; the SDK gets one call after the other, whole."""
    source, target = ROWS["openai-chat"], ROWS[speaker.format]
    deltas: list[Delta] = [
        Opened(id="r-1", model="m-1"),
        ToolCallOpened(0, "call_a", "weather"),
        ToolCallOpened(1, "call_b", "clock"),
        ArgumentsDelta(0, '{"city":'),
        ArgumentsDelta(1, '{"in":'),
        ArgumentsDelta(0, '"Bern"}'),
        ArgumentsDelta(1, '"Rome"}'),
        Finish("tool_calls", Usage(input=1, output=2)),
        Ended(),
    ]
    server.respond = lambda seen: streamed(source, target, deltas)
    heard = speaker.hear_stream(server.url)
    assert heard["parts"] == [["call", 0, "weather", {"city": "Bern"}], ["call", 1, "clock", {"in": "Rome"}]]
    assert heard["finish"] == "tool_calls"
    assert heard["usage"] == {"input": 1, "output": 2}


class Weather(BaseModel):
    city: str


@each_source
def test_structured_output(server: Server, source: Format) -> None:
    """Both SDKs that parse answers ask by a schema that every format can be asked by, and find their object."""
    answer = Reply(id="r-1", model="m-1", parts=(TextPart(text='{"city":"Bern"}'),), finish="stop")
    answer_with(server, source, ROWS["anthropic-messages"], answer)
    with _claude(server.url) as claude:
        question: Any = [{"role": "user", "content": "Hi"}]
        message = claude.messages.parse(model="m-1", max_tokens=9, messages=question, output_format=Weather)
    assert message.parsed_output == Weather(city="Bern")
    answer_with(server, source, ROWS["gemini"], answer)
    config = genai_types.GenerateContentConfig(response_mime_type="application/json", response_schema=Weather)
    with _gemini(server.url) as client:
        response = client.models.generate_content(model="m-1", contents="Hi", config=config)
    assert response.parsed == Weather(city="Bern")
    for seen, name in zip(server.log, ("anthropic-messages", "gemini"), strict=True):
        call = translate_call(seen.json, seen.path, name, source.name)
        heard = hear_call(load_translator(source.name).read_call(through_wire(call.body), call.path))
        assert heard["output_schema"]["properties"]["city"]["type"] == "string"


@each_source
async def test_without_blocking(server: Server, source: Format) -> None:
    """The helpers of the asynchronous clients read the same bytes."""
    reply = REPLIES["a tool called"]
    question: Any = [{"role": "user", "content": "Hi"}]
    answer_with(server, source, ROWS["anthropic-messages"], reply)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as claude:
        async with claude.messages.stream(model="m-1", max_tokens=9, messages=question) as stream:
            message = await stream.get_final_message()
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[-1].input == {"city": "Bern"}  # type: ignore[union-attr]
    answer_with(server, source, ROWS["gemini"], reply)
    client = _gemini(server.url)
    pieces = [piece async for piece in await client.aio.models.generate_content_stream(model="m-1", contents="Hi")]
    calls = [call for piece in pieces for call in piece.function_calls or ()]
    assert [(call.name, call.args) for call in calls] == [("weather", {"city": "Bern"})]
    await client.aio.aclose()
    client.close()
