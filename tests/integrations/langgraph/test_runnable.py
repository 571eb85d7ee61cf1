"""The guard as a step of a chain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda

from highflame_langgraph import GuardRunnable
from highflame_middleware import BlockedError, ConfigError, EmbeddedGuard
from tests.integrations.langgraph.kit import Guard, Scripted, calling


def run(step: Any, value: Any, how: str) -> Any:
    if how == "invoke":
        return step.invoke(value)
    if how == "ainvoke":
        return asyncio.run(step.ainvoke(value))
    if how == "stream":
        return _sum(list(step.stream(value)))

    async def main() -> Any:
        return _sum([one async for one in step.astream(value)])

    return asyncio.run(main())


def _sum(parts: list[Any]) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


HOW = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "value",
    [
        "A SECRET.",
        HumanMessage("A SECRET."),
        [HumanMessage("A SECRET."), AIMessage("SECRET")],
        calling(("a", {"x": "SECRET"})),
        {"question": "SECRET", "more": ["SECRET", 1]},
        ChatPromptTemplate([("user", "A {word}.")]).invoke({"word": "SECRET"}),
        PromptTemplate.from_template("A {word}.").invoke({"word": "SECRET"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_through(value: Any, how: str) -> None:
    out = run(GuardRunnable(guard=Guard(redact=["SECRET"]), gateway=None), value, how)
    assert type(out) is type(value)
    assert "SECRET" not in repr(out)
    assert "[redacted]" in repr(out)
    assert run(GuardRunnable(guard=Guard(), gateway=None), value, how) == value
    with pytest.raises(BlockedError):
        run(GuardRunnable(guard=Guard(deny=["SECRET"]), gateway=None), value, how)


@pytest.mark.parametrize("how", HOW)
def test_a_chain(how: str) -> None:
    guard = Guard(redact=["SECRET"])
    model = Scripted(script=["The SECRET is out."])
    chain = (
        ChatPromptTemplate([("user", "A {word}.")])
        | GuardRunnable("prompt", guard=guard, gateway=None)
        | model
        | GuardRunnable("response", guard=guard, gateway=None)
        | StrOutputParser()
    )
    assert run(chain, {"word": "SECRET"}, how) == "The [redacted] is out."
    assert "SECRET" not in repr(model.sent)


@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_is_still_a_stream(how: str) -> None:
    model = Scripted(script=["One two three four five six seven 4111 1111 1111 1111 and eight."])
    chain = model | StrOutputParser() | GuardRunnable("response", guard=EmbeddedGuard(), gateway=None)
    if how == "stream":
        pieces = list(chain.stream("Hello"))
    else:

        async def main() -> list[str]:
            return [piece async for piece in chain.astream("Hello")]

        pieces = asyncio.run(main())
    assert len(pieces) > 5
    assert "".join(pieces) == "One two three four five six seven [REDACTED:credit_card] and eight."


def test_stages_have_names() -> None:
    guard = Guard()
    GuardRunnable("tool_result", guard=guard, gateway=None).invoke("text")
    assert guard.asked == [("tool_result", "text")]
    with pytest.raises(ConfigError, match="'output' is unknown"):
        GuardRunnable("output")


def test_lcel_fallbacks_are_told_what_they_are_for() -> None:
    step = GuardRunnable(guard=Guard(deny=["SECRET"]), gateway=None)
    other = RunnableLambda(lambda text: "other")
    assert step.with_fallbacks([other]).invoke("SECRET") == "other"
    with pytest.raises(BlockedError):
        step.with_fallbacks([other], exceptions_to_handle=(ConnectionError,)).invoke("SECRET")
