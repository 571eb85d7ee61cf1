"""The ways of calling the OpenAI SDK's other resources: images, audio, threads, and what there is besides."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

from tests.instrumentation.kits import PROMPT, Case
from tests.servers import Answer, Seen

__all__ = ["RESOURCES", "answering"]

SAID: Any = [{"type": "message", "role": "user", "content": PROMPT}]


def _sound() -> Any:
    return ("a.wav", io.BytesIO(b"RIFF"))


def _image() -> Any:
    return ("a.png", io.BytesIO(b"\x89PNG"), "image/png")


def _old(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A call that newer versions warn of."""

    def quietly(client: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return call(client)

    return quietly


def _messages(events: list[Any]) -> str:
    deltas = [event.data.delta for event in events if event.event == "thread.message.delta"]
    return "".join(part.text.value for delta in deltas for part in delta.content)


def _transcript(events: list[Any]) -> str:
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert [event.text for event in events if event.type == "transcript.text.done"] == [deltas]
    return deltas


RESOURCES: dict[str, Case] = {
    "images": Case(
        lambda c: c.images.generate(prompt=PROMPT, model="m"), lambda reply: reply.data[0].revised_prompt
    ),
    "images edit": Case(
        lambda c: c.images.edit(image=_image(), prompt=PROMPT, model="m"),
        lambda reply: reply.data[0].revised_prompt,
    ),
    "images variation": Case(_old(lambda c: c.images.create_variation(image=_image(), model="m"))),
    # The version that has conversations has images that stream.
    "images stream": Case(
        lambda c: c.images.generate(prompt=PROMPT, model="m", stream=True, partial_images=1), None, "conversations"
    ),
    "images edit stream": Case(
        lambda c: c.images.edit(image=_image(), prompt=PROMPT, model="m", stream=True), None, "conversations"
    ),
    "transcription": Case(
        lambda c: c.audio.transcriptions.create(model="m", file=_sound(), prompt=PROMPT), lambda reply: reply.text
    ),
    "transcription verbose": Case(
        lambda c: c.audio.transcriptions.create(
            model="m", file=_sound(), prompt=PROMPT, response_format="verbose_json"
        ),
        lambda reply: reply.text + json.dumps([str(reply.segments), str(reply.words)]),
        "responses",
    ),
    "transcription text": Case(
        lambda c: c.audio.transcriptions.create(model="m", file=_sound(), prompt=PROMPT, response_format="text"),
        str,
    ),
    "transcription stream": Case(
        lambda c: c.audio.transcriptions.create(model="m", file=_sound(), prompt=PROMPT, stream=True),
        _transcript,
        "responses",
    ),
    "translation": Case(
        _old(lambda c: c.audio.translations.create(model="m", file=_sound(), prompt=PROMPT)),
        lambda reply: reply.text,
    ),
    "speech": Case(lambda c: c.audio.speech.create(model="m", voice="alloy", input=PROMPT)),
    "speech raw": Case(
        lambda c: c.audio.speech.with_raw_response.create(
            model="m", voice="alloy", input="x", extra_body={"instructions": PROMPT}
        )
    ),
    "assistants": Case(_old(lambda c: c.beta.assistants.create(model="m", instructions=PROMPT))),
    "threads": Case(_old(lambda c: c.beta.threads.create(messages=[{"role": "user", "content": PROMPT}]))),
    "thread message": Case(
        _old(lambda c: c.beta.threads.messages.create("thread_1", role="user", content=PROMPT)),
    ),
    "thread messages": Case(
        _old(lambda c: c.beta.threads.messages.list("thread_1")),
        lambda page: page.data[0].content[0].text.value,
        prompted=False,
    ),
    "run": Case(
        _old(
            lambda c: c.beta.threads.runs.create("thread_1", assistant_id="asst_1", additional_instructions=PROMPT)
        )
    ),
    "run stream": Case(
        _old(
            lambda c: c.beta.threads.runs.create(
                "thread_1", assistant_id="asst_1", additional_instructions=PROMPT, stream=True
            )
        ),
        _messages,
    ),
    "run stream helper": Case(
        _old(
            lambda c: c.beta.threads.create_and_run_stream(
                assistant_id="asst_1", thread={"messages": [{"role": "user", "content": PROMPT}]}
            )
        ),
        _messages,
    ),
    "tool outputs": Case(
        _old(
            lambda c: c.beta.threads.runs.submit_tool_outputs(
                "run_1", thread_id="thread_1", tool_outputs=[{"tool_call_id": "t", "output": PROMPT}], stream=True
            )
        ),
        _messages,
        prompted=False,
    ),
    "conversations": Case(lambda c: c.conversations.create(items=SAID), None, "conversations"),
    "conversation items": Case(
        lambda c: c.conversations.items.create("conv_1", items=SAID),
        lambda page: page.data[0].content[0].text,
        "conversations",
    ),
    "conversation items list": Case(
        lambda c: c.conversations.items.list("conv_1"),
        lambda page: page.data[0].content[0].text,
        "conversations",
        prompted=False,
    ),
    "response retrieve": Case(
        lambda c: c.responses.retrieve("resp_1"), lambda reply: reply.output_text, "responses", prompted=False
    ),
    "response input tokens": Case(
        lambda c: c.responses.input_tokens.count(model="m", input=PROMPT), None, "responses.input_tokens"
    ),
    "response compact": Case(
        lambda c: c.responses.compact(model="m", input=PROMPT),
        lambda reply: reply.output[0].content[0].text,
        "responses.compact",
    ),
    "videos": Case(_old(lambda c: c.videos.create(prompt=PROMPT)), lambda video: video.prompt, "videos"),
    "video remix": Case(_old(lambda c: c.videos.remix("v", prompt=PROMPT)), lambda video: video.prompt, "videos"),
    "video content": Case(_old(lambda c: c.videos.download_content("v")), None, "videos", prompted=False),
    "vector store search": Case(
        lambda c: c.vector_stores.search("vs_1", query=PROMPT),
        lambda page: page.data[0].content[0].text,
        "vector_stores.search",
    ),
    "vector store": Case(lambda c: c.vector_stores.create(name="x"), None, "vector_stores", prompted=False),
    "realtime secret": Case(
        lambda c: c.realtime.client_secrets.create(session={"type": "realtime", "instructions": PROMPT}),
        None,
        "realtime.client_secrets",
    ),
    "realtime call": Case(
        lambda c: c.realtime.calls.create(sdp="v=0", session={"type": "realtime", "instructions": PROMPT}),
        None,
        "realtime.calls.create",
    ),
    "realtime call without a session": Case(
        lambda c: c.realtime.calls.create(sdp="v=0"), None, "realtime.calls.create", prompted=False
    ),
    "realtime accept": Case(
        lambda c: c.realtime.calls.accept("call_1", type="realtime", instructions=PROMPT), None, "realtime.calls"
    ),
    "decisions": Case(
        lambda c: c.decisions.create(
            model="m", input=PROMPT, questions=[{"type": "predicate", "question": PROMPT}]
        ),
        None,
        "decisions",
    ),
    "agent sessions": Case(
        lambda c: c.beta.agents.create(model="m", name="n", instructions=PROMPT), None, "beta.agents"
    ),
    "evals": Case(
        lambda c: c.evals.create(
            data_source_config={"type": "custom", "item_schema": {}},
            testing_criteria=[{"type": "label_model", "model": "m", "name": "n", "input": SAID, "labels": ["a"]}],
        ),
        None,
        "evals",
    ),
    "fine tuning": Case(lambda c: c.fine_tuning.jobs.create(model="m", training_file="f"), prompted=False),
    "batches": Case(
        lambda c: c.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id="f"),
        prompted=False,
    ),
    "uploads": Case(
        lambda c: c.uploads.create(bytes=1, filename="f", mime_type="text/plain", purpose="batch"),
        None,
        "uploads",
        prompted=False,
    ),
    "containers": Case(lambda c: c.containers.create(name="n"), None, "containers", prompted=False),
}


def _json(data: Any) -> Answer:
    content = json.dumps(data).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def _bytes(kind: str, content: bytes) -> Answer:
    return Answer(200, (("content-type", kind),), [content], length=len(content))


def _events(*events: tuple[str | None, Any]) -> Answer:
    frames = [
        (f"event: {name}\n" if name else "") + "data: " + (data if data == "[DONE]" else json.dumps(data)) + "\n\n"
        for name, data in events
    ]
    return Answer(200, (("content-type", "text/event-stream"),), [frame.encode() for frame in frames])


def _asks(seen: Seen, name: str, value: str) -> bool:
    """Whether a call's body, JSON or a form, has a field with this value."""
    return (
        f'name="{name}"\r\n\r\n{value}'.encode() in seen.body
        or re.search(rf'"{name}": ?"?{value}'.encode(), seen.body) is not None
    )


def answering(pieces: list[str]) -> Callable[[Seen], Answer | None]:
    """Answers for these resources that say ``pieces``, in pieces where they stream."""
    said = "".join(pieces)
    message = {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 1,
        "thread_id": "thread_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "text", "text": {"value": said, "annotations": []}}],
    }
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": said, "annotations": []}],
    }
    page = {"object": "list", "first_id": "a", "last_id": "a", "has_more": False}
    run = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "status": "queued", "instructions": "x"}
    response: dict[str, Any] = {
        "usage": {"input_tokens": 3, "output_tokens": 5},
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [item],
    }

    def images(seen: Seen) -> Answer:
        if _asks(seen, "stream", "true"):
            kind = "image_edit" if "edits" in seen.path else "image_generation"
            done = {"type": f"{kind}.completed", "b64_json": "AAAA", "size": "1024x1024"}
            part = {"type": f"{kind}.partial_image", "b64_json": "AA", "partial_image_index": 0}
            return _events((part["type"], part), (done["type"], done))
        return _json({"created": 1, "data": [{"b64_json": "AAAA", "revised_prompt": said}]})

    def transcription(seen: Seen) -> Answer:
        if _asks(seen, "stream", "true"):
            deltas = [(None, {"type": "transcript.text.delta", "delta": piece}) for piece in pieces]
            return _events(*deltas, (None, {"type": "transcript.text.done", "text": said}), (None, "[DONE]"))
        if _asks(seen, "response_format", "text"):
            return _bytes("text/plain; charset=utf-8", said.encode())
        if _asks(seen, "response_format", "verbose_json"):
            segments = [{"id": index, "text": piece, "start": 0.0} for index, piece in enumerate(pieces)]
            words = [{"word": word, "start": 0.0, "end": 1.0} for word in said.split()]
            return _json({"text": said, "segments": segments, "words": words, "duration": 1.0, "language": "en"})
        return _json({"text": said})

    def running(seen: Seen) -> Answer:
        if not _asks(seen, "stream", "true"):
            return _json(run)
        deltas: list[tuple[str | None, Any]] = [
            (
                "thread.message.delta",
                {
                    "id": "msg_1",
                    "object": "thread.message.delta",
                    "delta": {"content": [{"index": 0, "type": "text", "text": {"value": piece}}]},
                },
            )
            for piece in pieces
        ]
        begun = {**message, "content": [], "status": "in_progress"}
        return _events(
            ("thread.run.created", run),
            ("thread.message.created", begun),
            *deltas,
            ("thread.message.completed", message),
            ("thread.run.completed", {**run, "status": "completed"}),
            ("done", "[DONE]"),
        )

    video = {"id": "v", "object": "video", "status": "queued", "prompt": said, "model": "sora-2"}
    found = {"file_id": "f", "filename": "f", "score": 1.0, "content": [{"type": "text", "text": said}]}
    rows: list[tuple[str, Callable[[Seen], Answer]]] = [
        (r"/images/(generations|edits|variations)$", images),
        (r"/audio/(transcriptions|translations)$", transcription),
        (r"/audio/speech$", lambda seen: _bytes("audio/mpeg", b"\xff\xfb\x00SECRET OUT")),
        (
            r"/threads/[^/]+/messages$",
            lambda seen: _json({**page, "data": [message]} if seen.method == "GET" else run),
        ),
        (r"/runs(/[^/]+/submit_tool_outputs)?$", running),
        (r"/(assistants|threads|conversations)$", lambda seen: _json({"id": "x", "object": "thread"})),
        (r"/conversations/[^/]+/items$", lambda seen: _json({**page, "data": [item]})),
        (r"/responses/resp_1$", lambda seen: _json(response)),
        (r"/responses/input_tokens$", lambda seen: _json({"object": "response.input_tokens", "input_tokens": 1})),
        (r"/responses/compact$", lambda seen: _json({**response, "object": "response.compaction"})),
        (r"/videos(/v/remix)?$", lambda seen: _json(video)),
        (r"/videos/v/content$", lambda seen: _bytes("video/mp4", b"\x00SECRET OUT")),
        (r"/vector_stores/[^/]+/search$", lambda seen: _json({**page, "data": [found]})),
        (r"/client_secrets$", lambda seen: _json({"value": "ek_1", "expires_at": 1, "session": {}})),
        (r"/realtime/calls$", lambda seen: _bytes("application/sdp", b"v=0")),
        (r"/accept$", lambda seen: _bytes("application/json", b"{}")),
        (r"/decisions$", lambda seen: _json({"id": "d", "object": "decision", "answers": []})),
        (r"/(agents|evals|uploads|containers|vector_stores|jobs)$", lambda seen: _json({"id": "x", "object": "x"})),
    ]

    def respond(seen: Seen) -> Answer | None:
        path = seen.path.partition("?")[0]
        return next((answer(seen) for pattern, answer in rows if re.search(pattern, path)), None)

    return respond
