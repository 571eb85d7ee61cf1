"""The conversations and replies that every format is tried with, in no format's words.

What a format makes of them is said in its row of `formats`.
"""

from __future__ import annotations

from collections.abc import Mapping

from highflame_middleware.translation.conversation import (
    Conversation,
    MediaPart,
    Message,
    OtherPart,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Which city"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool(name="weather", description="Tells the weather", schema=SCHEMA)
CLOCK = Tool(name="clock", description="Tells the time", schema={"type": "object", "properties": {}})


def user(*texts: str) -> Message:
    return Message(role="user", parts=tuple(TextPart(text=text) for text in texts))


def assistant(*texts: str) -> Message:
    return Message(role="assistant", parts=tuple(TextPart(text=text) for text in texts))


def system(*texts: str) -> Message:
    return Message(role="system", parts=tuple(TextPart(text=text) for text in texts))


def picture(**given: str) -> Message:
    return Message(role="user", parts=(TextPart(text="What is this?"), MediaPart(kind="image", **given)))


def called(*calls: tuple[str, str, str], says: str = "") -> Message:
    parts = tuple(ToolCallPart(id=given, name=name, arguments=arguments) for given, name, arguments in calls)
    return Message(role="assistant", parts=((TextPart(text=says),) if says else ()) + parts)


def answered(*results: tuple[str, str, str], is_error: bool = False) -> Message:
    return Message(
        role="tool",
        parts=tuple(
            ToolResultPart(call_id=given, name=name, parts=(TextPart(text=text),), is_error=is_error)
            for given, name, text in results
        ),
    )


def conversation(*messages: Message, **given: object) -> Conversation:
    fields: dict[str, object] = {"model": "m-1", "max_tokens": 100, **given}
    return Conversation(messages=messages, **fields)  # type: ignore[arg-type]


def using_tools(*messages: Message, **given: object) -> Conversation:
    return conversation(user("Weather and time in Bern?"), *messages, tools=(WEATHER, CLOCK), **given)


CALLED = called(("call_a", "weather", '{"city":"Bern"}'), says="Let me see.")
RESULT = answered(("call_a", "weather", "rain"))

CONVERSATIONS: Mapping[str, Conversation] = {
    "a question": conversation(user("Hi")),
    "a model of a maker": conversation(user("Hi"), model="maker/m-1:free"),
    "no limit": conversation(user("Hi"), max_tokens=None),
    "a system prompt": conversation(system("Be brief."), user("Hi")),
    "two system prompts": conversation(system("Be brief."), system("Be kind."), user("Hi")),
    "several turns": conversation(system("Be brief."), user("Hi"), assistant("Hello."), user("How are you?")),
    "texts side by side": conversation(user("One", "Two"), assistant("Three", "Four"), user("Five")),
    "a tool": using_tools(),
    "a tool chosen": using_tools(tool_choice="tool:clock"),
    "a tool required": using_tools(tool_choice="required", parallel_tool_calls=False),
    "a tool if it likes": using_tools(tool_choice="auto"),
    "no tool": using_tools(tool_choice="none"),
    "a tool called": using_tools(CALLED, RESULT),
    "a tool that failed": using_tools(CALLED, answered(("call_a", "weather", "no network"), is_error=True)),
    "tools called at once": using_tools(
        called(("call_a", "weather", '{"city":"Bern"}'), ("call_b", "clock", "{}")),
        answered(("call_a", "weather", "rain"), ("call_b", "clock", "noon")),
        assistant("Rain at noon."),
        user("Thanks"),
    ),
    "one tool twice": using_tools(
        called(("call_a", "weather", '{"city":"Bern"}'), ("call_b", "weather", '{"city":"Rome"}')),
        answered(("call_a", "weather", "rain"), ("call_b", "weather", "sun")),
    ),
    "a tool called in turn": using_tools(
        CALLED, RESULT, called(("call_b", "clock", "{}")), answered(("call_b", "clock", "noon"))
    ),
    "no arguments": using_tools(called(("call_a", "clock", "")), answered(("call_a", "clock", "noon"))),
    "arguments that are no JSON": using_tools(called(("call_a", "weather", '{"city": "Be')), RESULT),
    "a result of a picture": using_tools(
        CALLED,
        Message(
            role="tool",
            parts=(
                ToolResultPart(
                    call_id="call_a",
                    name="weather",
                    parts=(TextPart(text="see"), MediaPart(kind="image", mime_type="image/png", data=PIXEL)),
                ),
            ),
        ),
    ),
    "a picture": conversation(picture(mime_type="image/png", data=PIXEL)),
    "a picture elsewhere": conversation(picture(url="https://example.com/a.png")),
    "a picture of the provider's": conversation(picture(file_id="file-1")),
    "a sound": conversation(
        Message(role="user", parts=(MediaPart(kind="audio", mime_type="audio/wav", data="UklGRg=="),))
    ),
    "a document": conversation(
        Message(
            role="user",
            parts=(
                TextPart(text="Sum it up"),
                MediaPart(kind="document", mime_type="application/pdf", data="JVBERi0=", name="a.pdf"),
            ),
        )
    ),
    "a document elsewhere": conversation(
        Message(
            role="user",
            parts=(
                TextPart(text="Sum it up"),
                MediaPart(kind="document", url="https://example.com/a.pdf", mime_type="application/pdf"),
            ),
        )
    ),
    "what only one format has": conversation(
        Message(role="user", parts=(OtherPart(format="elsewhere", value={"type": "hologram"}),))
    ),
    "a tool of one provider's": conversation(
        user("Hi"), other_tools=(OtherPart(format="elsewhere", value={"type": "crystal_ball"}),)
    ),
    "several answers": conversation(user("Hi"), essentials=(OtherPart(format="elsewhere", value={"n": 2}),)),
    "an answer in JSON": conversation(user("Weather, in JSON?"), json_output=True),
    "an answer to a schema": conversation(
        user("Weather?"), output_schema=SCHEMA, output_name="weather", output_strict=True
    ),
    "sampled": conversation(user("Hi"), temperature=0.5, top_p=0.75, top_k=40),
    "penalties": conversation(user("Hi"), frequency_penalty=0.5, presence_penalty=0.25, seed=7),
    "stop sequences": conversation(user("Hi"), stop=("END", "STOP")),
    "thinking hard": conversation(user("Hi"), reasoning_effort="high", max_tokens=9000),
    "for a user": conversation(user("Hi"), user="user-1"),
    "streamed": conversation(user("Hi"), stream=True),
}

_USAGE = Usage(input=20, output=9)


def reply(*parts: object, finish: str = "stop", usage: Usage = _USAGE) -> Reply:
    return Reply(id="r-1", model="m-1", parts=parts, finish=finish, usage=usage)  # type: ignore[arg-type]


REPLIES: Mapping[str, Reply] = {
    "a text": reply(TextPart(text="Hello.")),
    "nothing": reply(),
    "cut short": reply(TextPart(text="Hel"), finish="length"),
    "filtered": reply(TextPart(text="Hel"), finish="content_filter"),
    "refused": reply(RefusalPart(text="I will not."), finish="refusal"),
    "refused without a word": reply(finish="refusal"),
    "a tool called": reply(
        TextPart(text="Let me see."),
        ToolCallPart(id="call_a", name="weather", arguments='{"city":"Bern"}'),
        finish="tool_calls",
    ),
    "tools called at once": reply(
        ToolCallPart(id="call_a", name="weather", arguments='{"city":"Bern"}'),
        ToolCallPart(id="call_b", name="clock", arguments="{}"),
        finish="tool_calls",
    ),
    "thought": reply(
        ReasoningPart(text="They greet."), TextPart(text="Hello."), usage=Usage(input=20, output=9, reasoning=4)
    ),
    "signed": reply(ReasoningPart(text="They greet.", signature="c2lnbmVk"), TextPart(text="Hello.")),
    "from the cache": reply(TextPart(text="Hello."), usage=Usage(input=20, output=9, cache_read=8)),
    "into the cache": reply(
        TextPart(text="Hello."), usage=Usage(input=20, output=9, cache_read=8, cache_written=4)
    ),
}
