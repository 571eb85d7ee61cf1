"""The ways of calling Bedrock, once each: boto3 for blocking code, aiobotocore for asynchronous."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import boto3
from botocore.config import Config
from botocore.eventstream import EventStream
from botocore.response import StreamingBody

from tests.codecs.messages import message, wrapped
from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen

__all__ = ["CASES", "EVENTS", "GUARDED", "KIT", "MESSAGES", "NOVA", "make", "options", "speaking"]

EVENTS = "application/vnd.amazon.eventstream"
NOVA = "us.amazon.nova-lite-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
MESSAGES: Any = [{"role": "user", "content": [{"text": PROMPT}]}]
_CLAUDE = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": PROMPT}],
}


@dataclass(frozen=True)
class Clients:
    """A client of the models, and one of the agents."""

    runtime: Any
    agents: Any

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *exc: object) -> None:
        self.runtime.close()
        self.agents.close()


def options(url: str, **given: Any) -> dict[str, Any]:
    """What a client is made with."""
    attempts = given.pop("attempts", 1)
    return {
        "region_name": "us-east-1",
        "endpoint_url": url,
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": "example",
        "config": Config(retries={"total_max_attempts": attempts, "mode": "standard"}, connect_timeout=5),
        **given,
    }


def make(kind: str, url: str, **given: Any) -> Any:
    """Clients of a kind, to be entered."""
    if kind == "async":
        return _aclients(url, given)
    session = _session()
    names = ("bedrock-runtime", "bedrock-agent-runtime")
    return Clients(*(session.client(name, **options(url, **given)) for name in names))


@cache
def _session() -> boto3.Session:
    """One for all: it reads large files about the services."""
    return boto3.Session(region_name="us-east-1")


@cache
def _asession() -> Any:
    from aiobotocore.session import get_session

    return get_session()


@asynccontextmanager
async def _aclients(url: str, given: dict[str, Any]) -> AsyncIterator[Clients]:
    session = _asession()
    async with (
        session.create_client("bedrock-runtime", **options(url, **given)) as runtime,
        session.create_client("bedrock-agent-runtime", **options(url, **given)) as agents,
    ):
        yield Clients(runtime, agents)


def finish(value: Any) -> Any:
    """A result with its body read and its events gathered."""
    if not isinstance(value, dict):
        return value
    read = dict(value)
    for key, part in value.items():
        if isinstance(part, EventStream):
            read[key] = list(part)
        elif isinstance(part, StreamingBody):
            read[key] = part.read()
            part.close()
    return read


async def afinish(value: Any) -> Any:
    """The same of an asynchronous call's."""
    value = await value
    if not isinstance(value, dict):
        return value
    read = dict(value)
    for key, part in value.items():
        if isinstance(part, EventStream):
            read[key] = [event async for event in part]
        elif hasattr(part, "iter_chunks"):
            async with part:
                read[key] = await part.read()
    return read


def _invoke(body: Any, model: str = NOVA, **given: Any) -> Callable[[Clients], Any]:
    content = body if not isinstance(body, dict) else json.dumps(body)
    return lambda c: c.runtime.invoke_model(
        modelId=model, body=content() if callable(content) else content, **given
    )


def _stream(body: Any, model: str) -> Callable[[Clients], Any]:
    return lambda c: c.runtime.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))


def _said(reply: Any) -> str:
    return reply["output"]["message"]["content"][0]["text"]


def _body(*path: str | int) -> Callable[[Any], str]:
    def text(reply: Any) -> str:
        node = json.loads(reply["body"])
        for key in path:
            node = node[key]
        return str(node)

    return text


def _chunks(read: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda reply: "".join(read(json.loads(event["chunk"]["bytes"])) for event in reply["body"])


def _deltas(reply: Any) -> str:
    deltas = [event["contentBlockDelta"]["delta"] for event in reply["stream"] if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


_KNOWLEDGE: Any = {
    "type": "KNOWLEDGE_BASE",
    "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB12345678", "modelArn": ARN},
}
_AGENT: Any = {"agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "sessionId": "s1"}

CASES: dict[str, Case] = {
    "converse": Case(lambda c: c.runtime.converse(modelId=NOVA, messages=MESSAGES), _said),
    "converse arn": Case(lambda c: c.runtime.converse(modelId=ARN, messages=MESSAGES), _said),
    "converse system": Case(
        lambda c: c.runtime.converse(modelId=NOVA, messages=[], system=[{"text": PROMPT}]), _said
    ),
    "converse stream": Case(lambda c: c.runtime.converse_stream(modelId=NOVA, messages=MESSAGES), _deltas),
    "invoke claude": Case(_invoke(_CLAUDE, "anthropic.claude-3"), _body("content", 0, "text")),
    "invoke claude by arn": Case(_invoke(_CLAUDE, ARN), _body("content", 0, "text")),
    "invoke claude bytes": Case(
        _invoke(json.dumps(_CLAUDE).encode(), "anthropic.claude-3"), _body("content", 0, "text")
    ),
    "invoke claude file": Case(
        _invoke(lambda: io.BytesIO(json.dumps(_CLAUDE).encode()), "anthropic.claude-3"),
        _body("content", 0, "text"),
    ),
    "invoke claude stream": Case(
        _stream(_CLAUDE, "anthropic.claude-3"), _chunks(lambda event: event.get("delta", {}).get("text", ""))
    ),
    "invoke nova": Case(_invoke({"messages": MESSAGES}), _body("output", "message", "content", 0, "text")),
    "invoke nova stream": Case(
        _stream({"messages": MESSAGES}, NOVA),
        _chunks(lambda event: event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")),
    ),
    "invoke titan": Case(
        _invoke({"inputText": PROMPT}, "amazon.titan-text-express-v1"), _body("results", 0, "outputText")
    ),
    "invoke titan stream": Case(
        _stream({"inputText": PROMPT}, "amazon.titan-text-express-v1"), _chunks(lambda event: event["outputText"])
    ),
    "invoke llama": Case(_invoke({"prompt": PROMPT}, "meta.llama3-8b-instruct-v1:0"), _body("generation")),
    "invoke gpt-oss": Case(
        _invoke({"messages": [{"role": "user", "content": PROMPT}]}, "openai.gpt-oss-20b-1:0"),
        _body("choices", 0, "message", "content"),
    ),
    "embeddings": Case(_invoke({"inputText": PROMPT}, "amazon.titan-embed-text-v2:0")),
    "count tokens": Case(
        lambda c: c.runtime.count_tokens(
            modelId=NOVA, input={"invokeModel": {"body": json.dumps(_CLAUDE).encode()}}
        )
    ),
    "count tokens of a conversation": Case(
        lambda c: c.runtime.count_tokens(modelId=NOVA, input={"converse": {"messages": MESSAGES}})
    ),
    "apply guardrail": Case(
        lambda c: c.runtime.apply_guardrail(
            guardrailIdentifier="g1", guardrailVersion="1", source="INPUT", content=[{"text": {"text": PROMPT}}]
        ),
        lambda reply: reply["outputs"][0]["text"],
    ),
    "agent": Case(
        lambda c: c.agents.invoke_agent(inputText=PROMPT, **_AGENT),
        lambda reply: b"".join(event["chunk"]["bytes"] for event in reply["completion"]).decode(),
    ),
    "retrieve": Case(
        lambda c: c.agents.retrieve(knowledgeBaseId="KB12345678", retrievalQuery={"text": PROMPT}),
        lambda reply: reply["retrievalResults"][0]["content"]["text"],
    ),
    "retrieve and generate": Case(
        lambda c: c.agents.retrieve_and_generate(
            input={"text": PROMPT}, retrieveAndGenerateConfiguration=_KNOWLEDGE
        ),
        lambda reply: reply["output"]["text"],
    ),
    "retrieve and generate stream": Case(
        lambda c: c.agents.retrieve_and_generate_stream(
            input={"text": PROMPT}, retrieveAndGenerateConfiguration=_KNOWLEDGE
        ),
        lambda reply: "".join(event.get("output", {}).get("text", "") for event in reply["stream"]),
    ),
}
GUARDED = [name for name, case in CASES.items() if case.text is not None]


def speaking(streamed: list[str] | None = None) -> Respond:
    """A server that has something to hide in every format."""
    pieces = PIECES if streamed is None else streamed
    whole = "".join(pieces)

    def respond(seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        verb = path.rpartition("/")[2]
        if verb in ("converse-stream", "invoke-with-response-stream", "text", "retrieveAndGenerateStream"):
            sent = _events(verb, path, seen, pieces)
            return Answer(200, (("content-type", EVENTS),), sent)
        content = json.dumps(_reply(verb, path, seen, whole)).encode()
        return Answer(200, (("content-type", "application/json"),), [content], length=len(content))

    return respond


def _reply(verb: str, path: str, seen: Seen, whole: str) -> Any:
    nova = {
        "output": {"message": {"role": "assistant", "content": [{"text": whole}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        "metrics": {"latencyMs": 1},
    }
    replies: dict[str, Any] = {
        "converse": nova,
        "count-tokens": {"inputTokens": 3},
        "apply": {"action": "NONE", "outputs": [{"text": whole}], "assessments": [], "usage": {}},
        "retrieve": {"retrievalResults": [{"content": {"text": whole}}]},
        "retrieveAndGenerate": {"output": {"text": whole}, "sessionId": "s"},
    }
    if verb != "invoke":
        return replies[verb]
    if "embed" in path:
        return {"embedding": [0.1], "inputTextTokenCount": 1}
    if "anthropic_version" in seen.json:
        said = [{"type": "text", "text": whole}]
        return {"id": "m", "type": "message", "role": "assistant", "content": said, "stop_reason": "end_turn"}
    if "titan" in path:
        return {"results": [{"outputText": whole, "completionReason": "FINISH"}]}
    if "llama" in path:
        return {"generation": whole, "stop_reason": "stop"}
    if "openai" in path:
        return {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": whole}, "finish_reason": "stop"}]
        }
    return nova


def _events(verb: str, path: str, seen: Seen, pieces: list[str]) -> list[bytes]:
    if verb == "text":
        return [message("chunk", {"bytes": base64.b64encode(piece.encode()).decode()}) for piece in pieces]
    if verb == "retrieveAndGenerateStream":
        return [message("output", {"text": piece}) for piece in pieces]
    converse: list[tuple[str, Any]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0}) for piece in pieces),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        (
            "metadata",
            {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 1}},
        ),
    ]
    if verb == "converse-stream":
        return [message(name, {**data, "p": "abc"}) for name, data in converse]
    if "anthropic_version" in seen.json:
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in pieces
        ]
        opening = {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}}
        data: list[Any] = [opening, *deltas, {"type": "content_block_stop", "index": 0}, {"type": "message_stop"}]
    elif "titan" in path:
        data = [{"outputText": piece, "index": 0} for piece in pieces]
    else:
        data = [{name: said} for name, said in converse]
    return [message("chunk", wrapped(said, p="abcdef")) for said in data]


# What older versions do not have.
_NEEDS = {
    "converse": "runtime.converse",
    "converse arn": "runtime.converse",
    "converse system": "runtime.converse",
    "converse stream": "runtime.converse_stream",
    "count tokens": "runtime.count_tokens",
    "count tokens of a conversation": "runtime.count_tokens",
    "apply guardrail": "runtime.apply_guardrail",
    "retrieve and generate stream": "agents.retrieve_and_generate_stream",
}
_KINDS = ("sync", "async") if find_spec("aiobotocore") is not None else ("sync",)
KIT = Kit(
    sdk="bedrock",
    make=make,
    cases={name: replace(case, kinds=_KINDS, needs=_NEEDS.get(name, "")) for name, case in CASES.items()},
    speaking=speaking,
    retrying={"attempts": 3},
    finish=finish,
    afinish=afinish,
)
