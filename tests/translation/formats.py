"""What each format can say: the expectation table that every ordered pair of formats is held against.

A format joins with a row. ``lacks`` are parameters of a call that it has no
words for: they are dropped, and named. ``refuses`` are the cases (of
`conversations`) that it must not write, for something would be lost.
``hears_call`` and ``hears_reply`` are what else becomes of what is said
(`hearing`) when it goes through the format. ``thinking`` is a call's body in
the format whose history has thoughts: they go to no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.translation.hearing import Heard


def as_it_is(case: str, heard: Heard) -> Heard:
    return heard


@dataclass(frozen=True)
class Format:
    name: str
    path: str
    lacks: frozenset[str]
    refuses: frozenset[str]
    thinking: Any
    hears_call: Callable[[str, Heard], Heard] = as_it_is
    hears_reply: Callable[[str, Heard], Heard] = as_it_is
    refuses_replies: frozenset[str] = field(default=frozenset())
    # The id of a reply that has none.
    unnamed: str | None = None


# What no format may write, for it belongs to another.
FOREIGN = frozenset({"what only one format has", "a tool of one provider's", "several answers"})


def _openai_call(case: str, heard: Heard) -> Heard:
    """A tool's result is a text here: whether it is an error stands nowhere. Documents and schemas have names."""
    turns = [[*said[:-1], False] if said[1] == "result" else said for said in heard["turns"]]
    turns = [
        [*said[:-1], "document"] if said[2:3] == ["document"] and said[4] and not said[-1] else said
        for said in turns
    ]
    named = {"output_name": "answer", **heard} if "output_schema" in heard else heard
    return {**named, "turns": turns}


def _openai_reply(case: str, heard: Heard) -> Heard:
    """Thoughts have no signature that is shown. To refuse without a word is to be filtered."""
    parts = [["reasoning", said[1], None, said[3]] if said[0] == "reasoning" else said for said in heard["parts"]]
    refused = any(said[0] == "refusal" for said in parts)
    finish = "content_filter" if heard["finish"] == "refusal" and not refused else heard["finish"]
    return {**heard, "parts": parts, "finish": finish}


def _without_names(heard: Heard) -> list[Any]:
    """The turns, their documents without names."""
    return [[*said[:-1], None] if said[1] == "media" else said for said in heard["turns"]]


def _object_arguments(turns: list[Any]) -> list[Any]:
    """Arguments are an object here: what is none stands in one."""
    return [
        [*said[:4], {"invalid_json": said[4]}] if said[1] == "call" and isinstance(said[4], str) else said
        for said in turns
    ]


def _without(heard: Heard, *names: str) -> Heard:
    return {key: value for key, value in heard.items() if key not in names}


def _anthropic_call(case: str, heard: Heard) -> Heard:
    """There is a limit, always; and of temperature and top_p only one."""
    heard = {"max_tokens": 4096, **heard, "turns": _object_arguments(heard["turns"])}
    return _without(heard, "top_p") if "temperature" in heard else heard


def _converse_call(case: str, heard: Heard) -> Heard:
    """Tools that nobody may call are not told. Documents have names, of few kinds of characters."""
    turns = [
        [*said[:-1], (said[-1] or "document").replace(".", " ")] if said[2:3] == ["document"] else said
        for said in _object_arguments(heard["turns"])
    ]
    heard = {**heard, "turns": turns}
    return {**_without(heard, "tool_choice"), "tools": []} if heard.get("tool_choice") == "none" else heard


def _gemini_call(case: str, heard: Heard) -> Heard:
    return {**heard, "turns": _object_arguments(_without_names(heard))}


def _says_refusals(heard: Heard) -> Heard:
    """A refusal is a text like others."""
    parts = [["text", said[1]] if said[0] == "refusal" else said for said in heard["parts"]]
    return {**heard, "parts": parts}


def _counting(heard: Heard, *names: str) -> Heard:
    """Some tokens are not told apart."""
    return {**heard, "usage": _without(heard["usage"], *names)}


def _anthropic_reply(case: str, heard: Heard) -> Heard:
    finish = "refusal" if heard["finish"] == "content_filter" else heard["finish"]
    return {**_says_refusals(heard), "finish": finish}


def _converse_reply(case: str, heard: Heard) -> Heard:
    """Replies have neither id nor model."""
    finish = "content_filter" if heard["finish"] == "refusal" else heard["finish"]
    return {**_counting(_says_refusals(heard), "reasoning"), "finish": finish, "id": None, "model": None}


def _gemini_reply(case: str, heard: Heard) -> Heard:
    finish = "content_filter" if heard["finish"] == "refusal" else heard["finish"]
    return {**_counting(_says_refusals(heard), "cache_written"), "finish": finish}


FORMATS = (
    Format(
        name="openai-chat",
        unnamed="",
        path="/chat/completions",
        lacks=frozenset({"top_k", "reasoning_budget"}),
        refuses=FOREIGN
        | {
            "a result of a picture",
            "a picture of the provider's",
            "a document elsewhere",
        },
        hears_call=_openai_call,
        hears_reply=_openai_reply,
        thinking={
            "model": "m-1",
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello.", "reasoning_content": "They greet."},
                {"role": "user", "content": "Bye"},
            ],
        },
    ),
    Format(
        name="openai-responses",
        unnamed="resp_translated",
        path="/responses",
        lacks=frozenset({"top_k", "frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_budget"}),
        refuses=FOREIGN,
        hears_call=_openai_call,
        hears_reply=_openai_reply,
        thinking={
            "model": "m-1",
            "input": [
                {"role": "user", "content": "Hi"},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "They greet."}],
                    "encrypted_content": "c2VhbGVk",
                },
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "Bye"},
            ],
        },
    ),
    Format(
        name="anthropic-messages",
        unnamed="msg_0",
        path="/v1/messages",
        lacks=frozenset(
            {"frequency_penalty", "presence_penalty", "seed", "json_output", "output_name", "output_strict"}
        ),
        refuses=FOREIGN | {"a picture of the provider's", "a sound"},
        hears_call=_anthropic_call,
        hears_reply=_anthropic_reply,
        thinking={
            "model": "m-1",
            "max_tokens": 100,
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "They greet.", "signature": "c2lnbmVk"},
                        {"type": "text", "text": "Hello."},
                    ],
                },
                {"role": "user", "content": "Bye"},
            ],
        },
    ),
    Format(
        name="bedrock-converse",
        path="/model/m-1/converse",
        lacks=frozenset(
            {
                "frequency_penalty",
                "json_output",
                "output_strict",
                "parallel_tool_calls",
                "presence_penalty",
                "reasoning_budget",
                "seed",
                "top_k",
                "user",
            }
        ),
        refuses=FOREIGN | {"a picture of the provider's", "a picture elsewhere", "a document elsewhere"},
        hears_call=_converse_call,
        hears_reply=_converse_reply,
        thinking={
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "They greet.", "signature": "c2lnbmVk"}}},
                        {"text": "Hello."},
                    ],
                },
                {"role": "user", "content": [{"text": "Bye"}]},
            ],
        },
    ),
    Format(
        name="gemini",
        path="/v1beta/models/m-1:generateContent",
        lacks=frozenset({"output_name", "output_strict", "parallel_tool_calls", "user"}),
        refuses=FOREIGN | {"a picture of the provider's"},
        hears_call=_gemini_call,
        hears_reply=_gemini_reply,
        thinking={
            "contents": [
                {"role": "user", "parts": [{"text": "Hi"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "They greet.", "thought": True, "thoughtSignature": "c2lnbmVk"},
                        {"text": "Hello."},
                    ],
                },
                {"role": "user", "parts": [{"text": "Bye"}]},
            ],
        },
    ),
)
