"""bedrock-agents: every string of agents, knowledge bases and guardrails is read, but ids; arguments as one."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, framing_for, load_codec
from highflame_middleware.codecs.parts import Params, dump_json, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, check_texts, nested, random_json, spoilt
from tests.replay.records import folder, read_folder

AGENTS = load_codec("bedrock-agents")


@pytest.mark.parametrize(
    "path",
    [
        "/agents/A/agentAliases/B/sessions/C/text",
        "/agents/session",
        "/flows/F/aliases/A",
        "/knowledgebases/K/retrieve",
        "/retrieveAndGenerate",
        "/retrieveAndGenerateStream",
        "/rerank",
        "/guardrail/g/version/1/apply",
        "/optimize-prompt",
    ],
)
def test_its_paths(path: str) -> None:
    assert codec_for_path(path, spoken="bedrock") is AGENTS


def test_the_paths_of_others_are_not_its() -> None:
    assert codec_for_path("/v1/agents/x") is not AGENTS
    assert codec_for_path("/v2/rerank") is not AGENTS
    assert codec_for_path("/v1/rerank", spoken="bedrock") is not AGENTS


# Marked "§": what the guard has to see. Nothing else in the body is marked.
CALL: dict[str, Any] = {
    "inputText": "§ hi",
    "sessionId": "s1",
    "foundationModel": "anthropic.claude",
    "instruction": "§ be kind",
    "sessionState": {
        "promptSessionAttributes": {"name": "§ Ada"},
        "returnControlInvocationResults": [
            {"functionResult": {"actionGroup": "g", "responseBody": {"TEXT": {"body": "§ found"}}}}
        ],
    },
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {
            "knowledgeBaseId": "KB",
            "modelArn": "arn:aws",
            "generationConfiguration": {"promptTemplate": {"textPromptTemplate": "§ $query$"}},
        },
    },
    "content": [{"text": {"text": "§ guard", "qualifiers": "query"}}, {"image": {"source": {"bytes": "iVBO"}}}],
}


def marked(body: Any) -> list[str]:
    if isinstance(body, str):
        return [body] if "§" in body else []
    below = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [found for value in below for found in marked(value)]


def test_every_text_of_a_call() -> None:
    texts = AGENTS.read_call(CALL).texts
    check_texts(CALL, texts)
    found = {text.value: text.stage.value for text in texts}
    assert found == {**dict.fromkeys(marked(CALL), "prompt"), "§ found": "tool_result", "g": "tool_result"}
    assert AGENTS.read_params(CALL) == Params(conversation_id="s1")


REPLIES: dict[str, tuple[Any, list[str]]] = {
    "generated": (
        {
            "sessionId": "s",
            "output": {"text": "§"},
            "guardrailAction": "NONE",
            "citations": [
                {
                    "generatedResponsePart": {"textResponsePart": {"text": "§ part", "span": {"start": 0}}},
                    "retrievedReferences": [
                        {
                            "content": {"text": "§ source", "type": "TEXT"},
                            "metadata": {"x-amz-bedrock-kb-chunk-id": "c"},
                        }
                    ],
                }
            ],
        },
        ["§", "§ part", "§ source"],
    ),
    "retrieved": (
        {
            "retrievalResults": [
                {"content": {"text": "§"}, "location": {"s3Location": {"uri": "§ s3://b"}}, "score": 0.5}
            ]
        },
        ["§", "§ s3://b"],
    ),
    "judged": (
        {
            "action": "GUARDRAIL_INTERVENED",
            "actionReason": "§ why",
            "outputs": [{"text": "§ said instead"}],
            "assessments": [
                {
                    "sensitiveInformationPolicy": {
                        "piiEntities": [{"type": "EMAIL", "match": "§ a@b", "action": "BLOCKED"}]
                    }
                }
            ],
        },
        ["§ a@b", "§ said instead", "§ why"],
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply(name: str) -> None:
    body, expected = REPLIES[name]
    texts = AGENTS.read_reply(body).texts
    check_texts(body, texts)
    assert sorted(text.value for text in texts if text.value not in ("c", "NONE")) == expected


def test_an_agents_words_are_one_text() -> None:
    reader = AGENTS.open_stream()
    cited = {"bytes": "lo", "attribution": {"citations": [{"text": "§ source", "type": "TEXT"}]}}
    said = ""
    for data in ("Hel", cited):
        read = reader.read(data, "chunk")
        check_texts(data, read.texts)
        said += "".join(text.value for text in read.texts if text.channel == ("chunk", "bytes"))
    assert said == "Hello"
    assert [text.value for text in read.texts if text.channel is None] == ["§ source"]


def test_an_agents_words_may_happen_to_be_json() -> None:
    read = AGENTS.open_stream().read({"role": "§ a", "id": "§ b", "answer": ["§ c"]}, "chunk")
    assert [text.value for text in read.texts] == ["§ a", "§ b", "§ c"]


def test_a_call_handed_back_is_one_text_for_each_of_its_tools() -> None:
    data = {
        "invocationId": "i",
        "invocationInputs": [
            {
                "functionInvocationInput": {
                    "actionGroup": "g",
                    "function": "find",
                    "parameters": [{"name": "q", "type": "string", "value": "§"}],
                }
            }
        ],
    }
    read = AGENTS.open_stream().read(data, "returnControl")
    (call,) = [text for text in read.texts if text.stage == "tool_call"]
    assert (call.tool, json.loads(call.value)) == ("find", [{"name": "q", "type": "string", "value": "§"}])
    assert call.structured


def test_a_generated_stream_is_one_text() -> None:
    reader = AGENTS.open_stream()
    texts = [text for piece in ("a", "b") for text in reader.read({"text": piece}, "output").texts]
    assert [(text.channel, text.value) for text in texts] == [(("output", "text"), "a"), (("output", "text"), "b")]


def test_a_refusal_and_an_error() -> None:
    assert AGENTS.refuse("no")["output"] == {"text": "no"}
    assert AGENTS.refuse("no")["outputs"] == [{"text": "no"}]
    assert AGENTS.fail("no", "c") == ("validationException", {"message": "no"})


def test_no_shape_makes_it_raise() -> None:
    for body in (CALL, *(reply for reply, _ in REPLIES.values())):
        for wrong in spoilt(body):
            check_reads(AGENTS, wrong)
            check_events(AGENTS, [("chunk", wrong), ("trace", wrong), ("output", wrong)])
    rolled = random.Random(9)
    for _ in range(1000):
        check_reads(AGENTS, random_json(rolled))
        check_events(AGENTS, [(rolled.choice(["chunk", "output", None]), random_json(rolled))])
    assert AGENTS.read_reply(nested(5_000, "§")).texts


def test_recorded_exchanges_are_a_fixed_point() -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()} (TRAFFIC_DIR)")
    framing = framing_for("application/vnd.amazon.eventstream")
    assert framing is not None
    seen = 0
    for record in read_folder(folder()):
        if record.provider != "bedrock" or "/model/" in record.url:
            continue
        seen += 1
        texts = AGENTS.read_call(record.body).texts
        assert texts, record.source
        check_texts(record.body, texts)
        again = rewrite(record.body, edits_of([(text, text.value) for text in texts]))
        assert dump_json(again) == dump_json(record.body)
        if record.content[:1] != b"\0":
            body = json.loads(record.content)
            assert AGENTS.read_reply(body).texts, record.source
            check_texts(body, AGENTS.read_reply(body).texts)
            continue
        reader = AGENTS.open_stream()
        found = 0
        for raw in framing.splitter().feed(record.content):
            event = framing.parse(raw)
            data = event.data if event.is_json else event.text
            read = reader.read(data, event.name)
            check_texts(data, read.texts)
            found += len(read.texts)
        assert found, record.source
    assert seen > 10
