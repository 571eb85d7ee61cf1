"""What an instrumented call costs beside a bare one, in CPU time of one thread, interleaved in one process.

The provider is a transport that answers from memory, so that the SDK and this
library are all there is. Printed: medians, and ratios to the bare call.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from highflame_middleware import instrument
from highflame_middleware.gateway.messages import Request
from highflame_middleware.gateway.scripted import play
from highflame_middleware.telemetry import use_tracer_provider

ROUNDS = 40
PROMPT = (
    "Summarise the minutes of the meeting below in three sentences, and list who is to do what by when. " * 45
)[:4400]
ANSWER = " ".join(["word"] * 200)

SETUPS: dict[str, dict[str, Any] | None] = {
    "bare": None,
    "no guard": {"guard": None},
    "monitor": {"mode": "monitor"},
    "enforce": {},
}


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _client() -> openai.OpenAI:
    name = next(
        cls.__module__.partition(".")[0] for cls in openai.DefaultHttpxClient.__mro__ if "httpx" in cls.__module__
    )
    module = sys.modules[name]
    replies: dict[bool, tuple[Any, bytes]] = {}

    def answer(request: Any) -> Any:
        streams = b'"stream":true' in request.content
        if streams not in replies:
            asked = Request(method="POST", path="/v1/chat/completions", body=request.content)
            scene = play(({"text": ANSWER},), asked)
            replies[streams] = scene.headers, b"".join(frame for _, frame in scene.frames)
        headers, body = replies[streams]
        return module.Response(200, headers=list(headers), stream=_Body(body))

    class _Body(module.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, body: bytes) -> None:
            self._body = body

        def __iter__(self) -> Any:
            # An event a chunk, as a model's own pace would make them.
            events = self._body.split(b"\n\n")
            yield from (event + b"\n\n" for event in events[:-1]) if len(events) > 1 else (self._body,)

    http_client = module.Client(transport=module.MockTransport(answer), trust_env=False)
    return openai.OpenAI(api_key="k", http_client=http_client, max_retries=0)


def _whole(client: openai.OpenAI) -> None:
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": PROMPT}])


def _stream(client: openai.OpenAI) -> None:
    for _ in client.chat.completions.create(model="m", messages=[{"role": "user", "content": PROMPT}], stream=True):
        pass


def _measure(call: Callable[[openai.OpenAI], None], repeat: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in SETUPS}
    client = _client()
    for number in range(ROUNDS + 2):
        for name, options in SETUPS.items():
            with ExitStack() as stack:
                if options is not None:
                    stack.enter_context(instrument(**options))
                    call(client)  # whatever is loaded or compiled on the first call
                began = time.thread_time()
                for _ in range(repeat):
                    call(client)
                spent = (time.thread_time() - began) / repeat
            if number > 1:
                times[name].append(spent)
    return times


def main() -> None:
    """Measure and print."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    use_tracer_provider(provider)
    for title, call, repeat in (("chat, 4.4 KB prompt", _whole, 10), ("stream of 200 chunks", _stream, 2)):
        print(title)
        times = _measure(call, repeat)
        for name, values in times.items():
            added = statistics.median(mine - bare for mine, bare in zip(values, times["bare"], strict=True))
            ratio = statistics.median(values) / statistics.median(times["bare"])
            print(f"  {name:10} {statistics.median(values) * 1e6:9.0f} µs  {added * 1e6:+9.0f} µs  {ratio:5.2f} x")
    provider.shutdown()


if __name__ == "__main__":
    main()
