"""CrewAI's own classes for each provider: in every way of calling them, whole and streamed, and with tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from importlib import util
from typing import Any

import pytest
from crewai import LLM
from pydantic import BaseModel

from highflame_crewai import guard_crew, guarded
from highflame_middleware import BlockedError
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Stage
from tests.frameworks.answers import SPOKEN, answer
from tests.integrations.crewai.crews import crew_of, heard, noting
from tests.servers import Answer, Seen, Server, json_answer

pytestmark = pytest.mark.filterwarnings("ignore")

EDITED = SPOKEN.replace("SECRET", "[redacted]")
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": ("openai", "openai/gpt-4o", {}),
    "responses": ("openai", "openai/gpt-4o", {"api": "responses"}),
    "anthropic": ("anthropic", "anthropic/claude-sonnet-4-5", {}),
    "gemini": ("google.genai", "gemini/gemini-2.5-flash", {}),
    "litellm": ("litellm", "openai/gpt-4o", {"is_litellm": True}),
}


def model(which: str, server: Server, **options: Any) -> Any:
    needed, name, given = MODELS[which]
    if util.find_spec(needed.partition(".")[0]) is None or util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    given = {"api_key": "k", **given, **options}
    if which == "gemini":
        return LLM(model=name, client_params={"http_options": {"base_url": server.url}}, **given)
    return LLM(model=name, base_url=server.url if which == "anthropic" else f"{server.url}/v1", **given)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("which", MODELS)
def test_a_direct_call(which: str, later: bool, stream: bool, model_server: Server) -> None:
    model_server.respond = answer
    llm = model(which, model_server, stream=stream)

    def ask(text: str) -> Any:
        return asyncio.run(llm.acall(text)) if later else llm.call(text)

    with heard() as said:
        with guarded(guard=FakeGuard(redact=["SECRET"]), gateway=None):
            assert ask("a SECRET") == EDITED
        with guarded(guard=FakeGuard(deny=["SECRET"]), gateway=None):
            with pytest.raises(BlockedError):
                ask("hello")
            sent = len(model_server.log)
            with pytest.raises(BlockedError):
                ask("a SECRET")
            assert len(model_server.log) == sent
    assert len(said) > 2
    assert "SECRET" not in "".join(said)
    assert not any(b"SECRET" in seen.body for seen in model_server.log)


Notes = Sequence[tuple[str, str]]


def _openai(notes: Notes) -> Any:
    calls = [
        {"id": f"t{at}", "type": "function", "function": {"name": name, "arguments": json.dumps({"note": note})}}
        for at, (name, note) in enumerate(notes)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _responses(notes: Notes) -> Any:
    output = [
        {"id": f"i{at}", "type": "function_call", "call_id": f"t{at}", "name": name, "status": "completed"}
        | {"arguments": json.dumps({"note": note})}
        for at, (name, note) in enumerate(notes)
    ]
    about = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "tools": []}
    return {**about, "output": output, "parallel_tool_calls": True, "tool_choice": "auto"}


def _anthropic(notes: Notes) -> Any:
    content: list[Any] = [{"type": "text", "text": "Let me."}]
    content += [
        {"type": "tool_use", "id": f"t{at}", "name": name, "input": {"note": note}}
        for at, (name, note) in enumerate(notes)
    ]
    about = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {**about, "content": content, "stop_sequence": None, "usage": usage}


def _gemini(notes: Notes) -> Any:
    parts = [{"functionCall": {"name": name, "args": {"note": note}}} for name, note in notes]
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "g"}


CALLS: dict[str, Callable[[Notes], Any]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
}


@pytest.mark.parametrize("which", CALLS)
def test_calls_of_tools(which: str, model_server: Server) -> None:
    """Each provider's class writes them in its own way, in replies and in histories."""
    notes = [("first", "FORBIDDEN"), ("second", "a SECRET")]
    asked: list[Seen] = []

    def respond(seen: Seen) -> Answer:
        if "token" in seen.path.lower():
            return json_answer({}, 404)(seen)
        asked.append(seen)
        return json_answer(CALLS[which](notes))(seen) if len(asked) == 1 else answer(seen)

    model_server.respond = respond
    guard = FakeGuard(redact=["SECRET"], deny=["FORBIDDEN"])
    first, second = noting("the SECRET", name="first"), noting("the SECRET", name="second")
    crew = crew_of(model(which, model_server), first, second)
    with heard() as said:
        assert guard_crew(crew, guard=guard, gateway=None).kickoff().raw == EDITED
    assert (first.seen, second.seen) == ([], ["a [redacted]"])
    sent = "".join(seen.body.decode() for seen in model_server.log)
    assert "a word of the fake guard" in sent
    assert "the [redacted]" in sent
    for text in (sent, *said):
        assert "SECRET" not in text
        assert "FORBIDDEN" not in text
    judged = [(request.stage, request.content) for request in guard.requests]
    assert len(judged) == len(set(judged))
    assert [stage for stage, _ in judged].count(Stage.TOOL_CALL) == 2
    assert len(asked) == 2


class Word(BaseModel):
    word: str


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("which", ["openai", "anthropic", "gemini"])
def test_a_reply_that_is_not_of_its_form_is_not_quoted(which: str, later: bool, model_server: Server) -> None:
    """Pydantic's errors quote what they are about, which nobody has judged then; CrewAI repeats them."""
    model_server.respond = answer
    llm = model(which, model_server)
    with heard() as said, guarded(guard=FakeGuard(redact=["SECRET"]), gateway=None):
        with pytest.raises(ValueError, match=r"validation error|expected") as caught:
            asyncio.run(llm.acall("x", response_model=Word)) if later else llm.call("x", response_model=Word)
    assert "SECRET" not in f"{caught.value!r}{caught.value}"
    assert "SECRET" not in "".join(said)
