"""What Anthropic, Bedrock and Gemini want of a call, and what only they have: one test a trap."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware.translation import UntranslatableError, load_translator, translate_call, translate_reply
from highflame_middleware.translation.conversation import (
    ArgumentsDelta,
    Conversation,
    Delta,
    Ended,
    Finish,
    MediaPart,
    Message,
    Opened,
    OtherPart,
    PartDelta,
    ReasoningDelta,
    TextDelta,
    TextPart,
    Tool,
    ToolCallOpened,
    ToolResultPart,
    Usage,
)
from tests.translation.conversations import (
    PIXEL,
    answered,
    assistant,
    called,
    conversation,
    picture,
    system,
    user,
    using_tools,
)

ANTHROPIC, CONVERSE, GEMINI = (
    load_translator(name) for name in ("anthropic-messages", "bedrock-converse", "gemini")
)
EACH = pytest.mark.parametrize("translator", [ANTHROPIC, CONVERSE, GEMINI], ids=lambda found: found.name)
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"


def body_of(translator: Any, call: Conversation) -> Any:
    return translator.write_call(call).body


def read_all(translator: Any, events: list[tuple[str | None, Any]]) -> list[Delta]:
    reader = translator.read_stream()
    return [delta for name, data in events for delta in reader.read(data, name)] + list(reader.finish())


def roles(body: Any) -> list[str]:
    return [turn["role"] for turn in body.get("messages", body.get("contents"))]


# -- turns


@EACH
def test_speakers_take_turns(translator: Any) -> None:
    """An API of items has a message for each; results are the user's, and what it says next goes with them."""
    call = using_tools(
        assistant("Let me see."),
        called(("call_a", "weather", "{}")),
        called(("call_b", "clock", "{}")),
        answered(("call_a", "weather", "rain")),
        answered(("call_b", "clock", "noon")),
        user("So?"),
    )
    body = body_of(translator, call)
    assistants = "model" if translator is GEMINI else "assistant"
    assert roles(body) == ["user", assistants, "user"]
    last = body["contents"][-1]["parts"] if translator is GEMINI else body["messages"][-1]["content"]
    assert len(last) == 3


@EACH
def test_turns_that_were_apart_stay_apart(translator: Any) -> None:
    """Neither what a format allows itself nor how its turns are cut is changed in its own."""
    bodies: dict[str, Any] = {
        "anthropic-messages": {
            "max_tokens": 1,
            "messages": [
                {"role": "user", "content": "One"},
                {"role": "user", "content": [{"type": "text", "text": "Two"}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": ""},
                        {"type": "tool_result", "tool_use_id": "a", "content": []},
                        {"type": "text", "text": "Three"},
                        {"type": "tool_result", "tool_use_id": "b"},
                    ],
                },
            ],
        },
        "bedrock-converse": {
            "messages": [
                {"role": "user", "content": [{"text": "One"}]},
                {
                    "role": "user",
                    "content": [
                        {"text": "Two"},
                        {"cachePoint": {"type": "default"}},
                        {"toolResult": {"toolUseId": "a", "content": [{"json": [1]}], "status": "success"}},
                        {"text": ""},
                    ],
                },
            ]
        },
        "gemini": {
            "contents": [
                {"role": "user", "parts": [{"text": "One"}]},
                {"parts": [{"text": "Two"}]},
                {
                    "role": "function",
                    "parts": [
                        {"functionResponse": {"name": "weather", "response": {"a": {"b": 1}}}},
                        {"text": ""},
                        {"functionResponse": {"name": "clock", "response": {"result": "noon"}}},
                    ],
                },
            ]
        },
    }
    body = bodies[translator.name]
    path = {"anthropic-messages": "/v1/messages", "bedrock-converse": "/model/m/converse", "gemini": GENERATE}
    assert body_of(translator, translator.read_call(body, path[translator.name])) == body


@EACH
def test_nothing_but_instructions(translator: Any) -> None:
    """There must be somebody who asks: it is who gives the last of the instructions."""
    written = translator.write_call(conversation(system("Be brief."), system("Say hello.")))
    assert roles(written.body) == ["user"]
    assert "Say hello." in json.dumps(written.body)
    assert written.dropped == ("messages.order",)


@EACH
def test_instructions_in_the_midst_come_first_and_that_is_said(translator: Any) -> None:
    written = translator.write_call(conversation(user("Hi"), system("Be brief."), user("Bye")))
    assert roles(written.body) == ["user"]
    assert "messages.order" in written.dropped


@EACH
def test_empty_texts_are_not_said(translator: Any) -> None:
    body = body_of(translator, conversation(user("Hi"), assistant(""), user("Still there?", "")))
    assert roles(body) == ["user"]
    assert '""' not in json.dumps(body)


@EACH
def test_tools_that_were_called_are_defined(translator: Any) -> None:
    """A history of calls without the tools is refused by providers; nobody may call them now."""
    call = conversation(user("Hi"), called(("a", "weather", "{}")), answered(("a", "weather", "rain")))
    written = translator.write_call(call)
    tools = translator.read_call(written.body, written.path).tools
    assert [tool.name for tool in tools] == ["weather"]
    if translator is not CONVERSE:
        assert translator.read_call(written.body, written.path).tool_choice == "none"


@EACH
def test_a_tool_without_a_type_in_its_schema(translator: Any) -> None:
    written = translator.write_call(conversation(user("Hi"), tools=(Tool(name="clock", schema={}),)))
    assert translator.read_call(written.body, written.path).tools[0].schema == {"type": "object"}


@EACH
def test_ids_of_other_formats_are_made_to_fit(translator: Any) -> None:
    """Letters, digits, dashes, no more than 64: of a call and its result alike."""
    strange, long = "functions.weather:0", "fc_" + "0" * 200
    call = using_tools(
        called((strange, "weather", "{}"), (long, "clock", "{}")),
        answered((strange, "weather", "rain"), (long, "clock", "noon")),
    )
    written = translator.write_call(call)
    heard = translator.read_call(written.body, written.path)
    made = [part.id for message in heard.messages for part in message.parts if hasattr(part, "arguments")]
    answers = [part.call_id for message in heard.messages for part in message.parts if hasattr(part, "call_id")]
    assert made == answers
    assert len(set(made)) == 2
    assert all(len(given) <= 64 and given.replace("_", "").replace("-", "").isalnum() for given in made)


# -- what models thought


@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-5", "us.anthropic.claude-sonnet-4-5-v1:0", "amazon.nova-pro-v1:0"]
)
def test_what_claude_signed_holds_wherever_it_runs(model: str) -> None:
    body = {
        "model": model,
        "max_tokens": 10,
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "They greet.", "signature": "c2ln"},
                    {"type": "tool_use", "id": "a", "name": "clock", "input": {}},
                ],
            },
        ],
    }
    written = translate_call(body, "/v1/messages", ANTHROPIC.name, CONVERSE.name)
    first = written.body["messages"][1]["content"][0]
    signed = {"reasoningContent": {"reasoningText": {"text": "They greet.", "signature": "c2ln"}}}
    assert (first == signed) is ("claude" in model)
    assert ("messages.reasoning" in written.dropped) is ("claude" not in model)
    if "claude" in model:
        back = translate_call(written.body, written.path, CONVERSE.name, ANTHROPIC.name)
        assert back.body["messages"] == body["messages"]


def test_a_budget_to_think_is_one_that_anthropic_takes() -> None:
    def thinking(*messages: Message, **given: Any) -> Any:
        call = conversation(*(messages or [user("Hi")]), reasoning_budget=500, temperature=0.5, **given)
        written = ANTHROPIC.write_call(call)
        return written.body.get("thinking"), "reasoning_budget" in written.dropped

    assert thinking(max_tokens=4000) == ({"type": "enabled", "budget_tokens": 1024}, True)
    # Not more than may be said at all; not where a call has to be answered whose thoughts nobody signed.
    assert thinking(max_tokens=1000) == (None, True)
    assert thinking(max_tokens=4000, tool_choice="required", tools=(Tool(name="clock"),)) == (None, True)
    call = (user("Hi"), called(("a", "clock", "{}")), answered(("a", "clock", "noon")))
    assert thinking(*call, max_tokens=4000) == (None, True)
    written = ANTHROPIC.write_call(
        conversation(user("Hi"), reasoning_budget=2000, max_tokens=4000, temperature=0.5)
    )
    assert written.body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert written.dropped == ("temperature",)
    assert body_of(ANTHROPIC, conversation(user("Hi"), reasoning_budget=0))["thinking"] == {"type": "disabled"}


def test_effort_is_a_level_or_a_budget_to_gemini() -> None:
    def config(model: str, effort: str) -> Any:
        written = GEMINI.write_call(conversation(user("Hi"), model=model, reasoning_effort=effort))
        return written.body["generationConfig"].get("thinkingConfig"), written.dropped

    assert config("gemini-2.5-flash", "medium") == ({"thinkingBudget": 8192}, ())
    assert config("gemini-2.5-flash", "none") == ({"thinkingBudget": 0}, ())
    assert config("gemini-3-pro", "xhigh") == ({"thinkingLevel": "HIGH"}, ())
    assert config("gemini-3-pro", "none") == (None, ("reasoning_effort",))


# -- gemini


def test_gemini_knows_results_by_name_and_order() -> None:
    """Calls without ids get some; each result is that of the first call of its name that waits."""
    content = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"city": "Bern"}}},
                {"functionCall": {"name": "clock"}},
                {"functionCall": {"name": "weather", "args": {"city": "Bern"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "clock", "response": {"output": "noon"}}},
                {"functionResponse": {"name": "weather", "response": {"output": "rain"}}},
                {"functionResponse": {"name": "weather", "response": {"error": "no network"}}},
            ],
        },
    ]
    written = translate_call({"contents": content}, GENERATE, "gemini", "openai-chat")
    first, clock, second = (call["id"] for call in written.body["messages"][1]["tool_calls"])
    assert len({first, clock, second}) == 3
    results = [(message["tool_call_id"], message["content"]) for message in written.body["messages"][2:]]
    assert results == [(clock, "noon"), (first, "rain"), (second, "no network")]
    assert written == translate_call({"contents": content}, GENERATE, "gemini", "openai-chat")
    # And back: in the order of the calls, without the ids.
    back = translate_call(written.body, "/chat/completions", "openai-chat", "gemini")
    parts = back.body["contents"][2]["parts"]
    assert [part["functionResponse"]["name"] for part in parts] == ["weather", "clock", "weather"]
    assert "id" not in json.dumps(back.body["contents"])


def test_replies_without_ids_get_such_as_differ() -> None:
    """The same call in two replies has two ids: they stand in one history later."""
    ids = set()
    for response in ("r1", "r2"):
        call = {"functionCall": {"name": "clock", "args": {}}}
        body = {
            "responseId": response,
            "candidates": [{"content": {"parts": [call, call]}, "finishReason": "STOP"}],
        }
        reply = translate_reply(body, "gemini", "openai-chat")
        assert reply["choices"][0]["finish_reason"] == "tool_calls"
        ids |= {call["id"] for call in reply["choices"][0]["message"]["tool_calls"]}
    assert len(ids) == 4


def test_newer_models_are_told_that_calls_are_not_signed() -> None:
    call = using_tools(called(("a", "weather", "{}"), ("b", "clock", "{}")), model="gemini-3-pro")
    parts = body_of(GEMINI, call)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["skip_thought_signature_validator", None]


def test_schemas_in_googles_dialect_are_json_schema_elsewhere() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {
            "tags": {
                "type": "ARRAY",
                "items": {"type": "STRING", "enum": ["a"], "nullable": True},
                "maxItems": "3",
            },
            "any": {"anyOf": [{"type": "NUMBER"}], "nullable": True},
            "type": {"type": "STRING"},
        },
        "propertyOrdering": ["tags"],
    }
    body = {"contents": [], "tools": {"function_declarations": [{"name": "tag", "parameters": parameters}]}}
    read = GEMINI.read_call(body, GENERATE)
    assert read.tools[0].schema == {
        "type": "object",
        "properties": {
            "tags": {
                "type": "array",
                "items": {"type": ["string", "null"], "enum": ["a", None]},
                "maxItems": 3,
            },
            "any": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "type": {"type": "string"},
        },
    }
    # To Gemini it goes as it came.
    (tool,) = body_of(GEMINI, read)["tools"]
    assert tool["functionDeclarations"][0]["parameters"] == parameters


def test_bytes_in_the_alphabet_of_addresses() -> None:
    blob = {"inlineData": {"mimeType": "image/png", "data": "-_8"}}
    body = {"contents": [{"role": "user", "parts": [blob]}]}
    read = GEMINI.read_call(body, GENERATE)
    part = read.messages[0].parts[0]
    assert isinstance(part, MediaPart)
    assert part.data == "+/8="
    assert body_of(GEMINI, read) == body


@pytest.mark.parametrize("count", [0, 2])
def test_candidates(count: int) -> None:
    candidate = {"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"}
    body = {"candidates": [candidate] * count, "promptFeedback": {"blockReason": "SAFETY"}}
    if count == 2:
        with pytest.raises(UntranslatableError, match="several"):
            GEMINI.read_reply(body)
        return
    assert GEMINI.read_reply(body).finish == "content_filter"
    stream = read_all(GEMINI, [(None, {"promptFeedback": {"blockReason": "SAFETY"}})])
    assert stream == [Opened(), Finish("content_filter"), Ended()]


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/m:countTokens",
        "/v1beta/models/m:embedContent",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/model/m/count-tokens",
    ],
)
@EACH
def test_other_calls_are_none_to_a_model(translator: Any, path: str) -> None:
    with pytest.raises(UntranslatableError):
        translator.read_call({"messages": [], "contents": []}, path)


# -- where the path says what the body does not


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:rawPredict", "claude-x@1", False),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict", "claude-x@1", True),
        ("/model/eu.anthropic.claude-x%3A0/invoke", "eu.anthropic.claude-x:0", False),
        ("/model/eu.anthropic.claude-x%3A0/invoke-with-response-stream", "eu.anthropic.claude-x:0", True),
    ],
)
def test_claude_elsewhere(path: str, model: str, stream: bool) -> None:
    body = {"anthropic_version": "v", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    read = ANTHROPIC.read_call(body, path)
    assert (read.model, read.stream) == (model, stream)
    written = ANTHROPIC.write_call(read)
    assert (written.path, written.body) == (path, body)
    assert CONVERSE.write_call(read).path.endswith("/converse-stream" if stream else "/converse")


def test_paths() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/eu.x:0"
    assert CONVERSE.write_call(conversation(user("Hi"), model=arn)).path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Feu.x%3A0/converse"
    )
    assert CONVERSE.read_call({}, CONVERSE.write_call(conversation(model=arn)).path).model == arn
    written = GEMINI.write_call(conversation(user("Hi"), model="gemini-x", stream=True))
    assert written.path == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"
    assert GEMINI.write_call(GEMINI.read_call({"contents": []}, vertex)).path == vertex
    with pytest.raises(UntranslatableError):
        GEMINI.write_call(conversation(user("Hi"), model=None))


# -- bedrock


def test_documents_have_a_name_and_a_format() -> None:
    parts = (
        MediaPart(kind="document", mime_type="text/csv; charset=utf-8", data="YQ==", name="a/b:c.csv"),
        MediaPart(kind="document", data="JVBERi0xLjQ="),
        MediaPart(kind="image", url="s3://bucket/a.png"),
    )
    body = body_of(CONVERSE, conversation(Message(role="user", parts=parts)))
    assert body["messages"][0]["content"] == [
        {"document": {"source": {"bytes": "YQ=="}, "format": "csv", "name": "a b c csv"}},
        {"document": {"source": {"bytes": "JVBERi0xLjQ="}, "format": "pdf", "name": "document"}},
        {"image": {"source": {"s3Location": {"uri": "s3://bucket/a.png"}}, "format": "png"}},
    ]
    with pytest.raises(UntranslatableError, match="image/tiff"):
        CONVERSE.write_call(conversation(picture(mime_type="image/tiff", data="AAAA")))
    with pytest.raises(UntranslatableError, match="not known"):
        CONVERSE.write_call(conversation(picture(data="AAAA")))


def test_texts_are_documents_of_text_to_anthropic() -> None:
    part = MediaPart(kind="document", mime_type="text/markdown", data="w6k=", name="a.md")
    (block,) = body_of(ANTHROPIC, conversation(Message(role="user", parts=(part,))))["messages"][0]["content"]
    assert block["source"] == {"type": "text", "media_type": "text/plain", "data": "\u00e9"}


def test_media_in_a_tools_result() -> None:
    image = MediaPart(kind="image", mime_type="image/png", data=PIXEL)
    result = ToolResultPart(call_id="a", name="weather", parts=(image,))
    call = using_tools(called(("a", "weather", "{}")), Message(role="tool", parts=(result,)))
    for translator in (ANTHROPIC, CONVERSE, GEMINI):
        written = translator.write_call(call)
        assert translator.read_call(written.body, written.path).messages[-1].parts[0].parts[-1].data == PIXEL


# -- streams


def test_anthropics_own_blocks_come_whole_and_go_nowhere_else() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    events: list[tuple[str | None, Any]] = [
        ("message_start", {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}),
        *(
            (
                "content_block_delta",
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": piece},
                },
            )
            for piece in ('{"query":', '"x"}')
        ),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
    ]
    part = PartDelta(OtherPart(format=ANTHROPIC.name, value={**block, "input": {"query": "x"}}))
    assert read_all(ANTHROPIC, events)[1] == part
    for name in ("openai-chat", "openai-responses", "bedrock-converse", "gemini"):
        writer = load_translator(name).write_stream("m")
        with pytest.raises(UntranslatableError):
            writer.write(part)


@EACH
def test_a_stream_of_everything(translator: Any) -> None:
    """Texts, thoughts and tools by turns: read as they were written, each block apart."""
    deltas: list[Delta] = [
        Opened(id="r", model="m"),
        ReasoningDelta("Hm"),
        ReasoningDelta(signature="c2ln"),
        TextDelta("One"),
        ToolCallOpened(0, "a", "clock"),
        ArgumentsDelta(0, '{"in":"Bern"}'),
        TextDelta("Two"),
        ToolCallOpened(1, "b", "clock"),
        ArgumentsDelta(1, "{}"),
        Finish("tool_calls", Usage(input=3, output=4)),
        Ended(),
    ]
    writer = translator.write_stream("m")
    read = read_all(translator, [event for delta in deltas for event in writer.write(delta)])
    kept = [delta for delta in read if not isinstance(delta, Opened | Finish | Ended)]
    assert kept == [delta for delta in deltas if not isinstance(delta, Opened | Finish | Ended)]
    assert [delta.reason for delta in read if isinstance(delta, Finish)] == ["tool_calls"]
    # Nothing follows an end.
    assert list(writer.write(TextDelta("more"))) == []


@EACH
def test_arguments_of_a_call_that_is_over_are_refused(translator: Any) -> None:
    writer = translator.write_stream("m")
    for delta in (Opened(), ToolCallOpened(0, "a", "clock"), TextDelta("So")):
        writer.write(delta)
    with pytest.raises(UntranslatableError, match="not open"):
        writer.write(ArgumentsDelta(0, "{}"))


@EACH
def test_what_is_held_has_a_bound(translator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.translation.leftovers.MAX_HELD", 10)
    writer = translator.write_stream("m")
    for delta in (Opened(), ToolCallOpened(0, "a", "clock"), ToolCallOpened(1, "b", "clock")):
        writer.write(delta)
    with pytest.raises(UntranslatableError, match="too long"):
        writer.write(ArgumentsDelta(1, "x" * 11))


@EACH
def test_parts_that_no_reply_has(translator: Any) -> None:
    """A part of no format's own is refused; text that comes as a part is none of those."""
    writer = translator.write_stream("m")
    with pytest.raises(UntranslatableError):
        writer.write(PartDelta(OtherPart(format="elsewhere", value={"type": "hologram"})))
    with pytest.raises(UntranslatableError, match="hologram"):
        translator.write_call(
            conversation(Message(role="user", parts=(OtherPart(format="elsewhere", value={"type": "hologram"}),)))
        )
    assert TextPart(text="secret").__repr__().count("secret") == 0
