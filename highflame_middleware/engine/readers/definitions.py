"""What is wrong with the definition of a tool: orders hidden in its description, talk of other servers' tools, a change.

A description says what a tool does. It has no reason to speak to the model about
secrecy, about files that are none of the tool's business, or about what other tools are to be given.
"""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from ...guard.rules import Fact
from ...types import GuardRequest, Signal, Stage, ToolContext
from ..kinds import signal_of
from ..wording.tally import Rule
from .actions import Seen, change_facts
from .reader import Watch

__all__ = ["CROSS_ORIGIN", "DEFINED", "POISONING", "Change", "Firsts", "digest_of", "is_definition"]

DEFINED = "tool_definition"  # the role of descriptions in a call, as the codecs name it

_CHANGED_ON_SERVER, _CHANGED_IN_SESSION = 90, 60

_MARK = r"(?:system|important|secret|hidden|instructions?|admin|assistant|override|critical|internal)"
_KEPT = (
    r"(?:\.ssh\b|id_rsa|\.env\b|mcp\.json|\.cursor/|\.aws\b|credentials?\b|api.?keys?\b|passwords?\b|private keys?|/etc/passwd"
    r"|environment variables?|\benv\b|system prompt|conversation (?:history|content)|chat history|access tokens?)"
)
_CARRY = r"(?:send|pass|include|forward|post|upload|exfiltrate|leak|transmit|append|attach|embed|copy|provide|read)"
_OTHER = r"[`'\"]?[a-z][a-z0-9]{0,20}(?:[_.-][a-z0-9]{1,20}){1,4}[`'\"]?"
_ANOTHER = rf"(?:{_OTHER}(?: tool)?|(?:any|every|all|each) (?:other )?tools?|(?:the |an)?other tools?)"

_POISON: tuple[Rule, ...] = (
    Rule("hidden_instructions", 90, "<!--|[//]: #|<hidden", rf"[<\[(/!:\s#hiden\]\"-]{{3,14}}\s{{0,3}}{_MARK}\b.{{0,160}}"),
    Rule("hidden_instructions", 90, "<important>|<secret>|<system>|<instructions>|<hidden>|<admin>|<critical>", r"<\w{1,12}>\s{0,6}[^<]{0,80}?(?:\byou\b|\bbefore\b|\bmust\b|\balways\b|\bnever\b|\bignore|\bread\b|\bwhen\b|\bdo not\b|\btool\b)"),
    Rule("hidden_instructions", 85, "exfiltrate", r"exfiltrate \w"),
    Rule("system_prompt_injection", 90, "ignor|disregard|overrid|bypass", r"[a-z]{5,12} (?:\w{1,12} ){0,3}?(?:prior|previous|above|earlier|existing|system|safety|other|your|user'?s?) (?:\w{1,12} ){0,2}?(?:instructions?|prompts?|rules?|constraints?|guidelines?|polic(?:y|ies)|restrictions?|directions?)"),
    Rule("system_prompt_injection", 80, "new instructions|system prompt|[system]|<|im_start|", r"(?:new instructions ?:|system prompt ?:|\[system\]|<\|im_start\|>)"),
    Rule("authority_hijack", 75, "before using|before calling|before invoking|prior to using|before you use|when using this tool|when calling this tool", rf"[^.]{{10,80}}?\b(?:must|always|have to|need to|first)\b[^.]{{0,80}}?\b(?:read|open|cat|load|fetch|send|pass|include|call|access)\b[^.]{{0,60}}?{_KEPT}"),
    Rule("authority_hijack", 75, "this tool must|always use this tool|use this tool instead|must be called first|takes precedence|highest priority|this tool overrides|only use this tool", r".{0,60}?(?:\b(?:before|instead of|over|precedence|prior to|regardless)\b.{0,40}?\b(?:any|all|every|other|tools?|instructions?)\b)"),
    Rule("data_theft", 85, "~/|.ssh|id_rsa|.env|mcp.json|credentials|api key|private key|environment variables|system prompt|conversation history", r".{0,80}?\b(?:as|in|into|to|via|through) (?:the |a |this )?[`'\"]?\w{1,24}[`'\"]? (?:parameter|argument|field|param|input|property)\b", rf"\b{_CARRY}\b.{{0,80}}$"),
    Rule("info_suppression", 85, "do not|don't|never|without|must not|avoid", r"[\w']{2,7}(?: not)? (?:\w{1,10} ){0,2}?(?:tell|mention|inform|notify|reveal|disclose|show|alert|explain|telling|mentioning|informing|notifying|alerting|say)\b.{0,40}?\b(?:the user|users?|them|him|anyone|anybody|about this)\b"),
    Rule("info_suppression", 75, "hide this|keep this secret|keep this hidden|silently|secretly", r"(?:hide this|keep this (?:secret|hidden)).{0,40}?\buser|(?:silently|secretly) (?:send|forward|copy|include|add|pass|upload|read|bcc|call|run|execute|exfiltrate)"),
    Rule("role_impersonation", 80, "you are now|act as the|pretend to be|you are the system|as the administrator", r"[a-z ]{6,20}?(?:system|admin|developer|root|unrestricted|dan|in developer mode|no longer|superuser|operator)\b"),
)  # fmt: skip

_CROSS: tuple[Rule, ...] = (
    Rule("cross_origin_tool", 75, "before|after|when|whenever|instead of|every time", rf"[a-z]{{4,8}}(?: of| time)? (?:you |the agent )?(?:using|calling|invoking|running|use|call|invoke|run) (?:the |a )?{_ANOTHER}.{{0,120}}?\b(?:must|always|first|instead|also|never|bcc|redirect|change|replace|set)\b"),
    Rule("cross_origin_tool", 75, "whenever|when|if|every time", rf"[a-z]{{2,8}}(?: time)? (?:the )?{_ANOTHER} (?:tool )?(?:is|are|gets) (?:called|used|invoked|available|run).{{0,120}}?\b(?:must|always|first|instead|also|never|bcc|redirect|change|replace|set|send|call)\b"),
    Rule("cross_origin_tool", 75, "side effect|modifies the behav|changes the behav|behavior of|behaviour of", rf".{{10,60}}?\b(?:of|on|for) (?:the )?{_ANOTHER}"),
    Rule("proxy_redirect", 80, "all emails|all messages|all requests|all payments|every email|every request|every message", r"\w{3,5} \w{5,9} (?:must|have to|should|are to|need to|are)\b.{0,40}?\b(?:sent|routed|forwarded|addressed|redirected|go|proxied)\b.{0,30}?\b(?:to|through|via)\b"),
)  # fmt: skip


def _tell(stem: str, watch_from: int, type_: str, score: int) -> dict[str, Fact]:
    detected = score >= watch_from
    return {
        f"{stem}_detected": detected,
        f"{stem}_type": type_ if detected else "none",
        f"{stem}_score": score,
    }


POISONING = Watch(
    "tool_poisoning", _POISON, lambda type_, score: _tell("tool_poisoning", 50, type_, score), before=112, reach=400
)
CROSS_ORIGIN = Watch(
    "cross_origin", _CROSS, lambda type_, score: _tell("cross_origin", 50, type_, score), reach=300
)


class Change:
    """Whether a tool is defined otherwise than when it was first seen, on its server or in its session.

    A server's tools change under one's hands only where something is wrong. The agents of a session may well
    have different tools of one name, so there it is only reported; and where nobody says either, nothing is known.
    """

    __slots__ = ("facts",)

    def __init__(self, seen: Seen, request: GuardRequest, tool: ToolContext) -> None:
        key = "\x1f".join((tool.server_id or "", "" if tool.server_id else request.session_id or "", tool.name))
        now = digest_of(tool.description or "")
        score = _CHANGED_ON_SERVER if tool.server_id else _CHANGED_IN_SESSION
        self.facts: Mapping[str, Fact] = change_facts(seen.first(digest_of(key), now), now, score=score)

    def read(self, folded: str, *, final: bool) -> bool:  # noqa: ARG002 - the definition is no part of the text
        """Nothing more is to be known."""
        return False

    def signals(self) -> Iterable[Signal]:
        """The change, where there is one."""
        if self.facts["rug_pull_detected"]:
            score = int(self.facts["rug_pull_score"])  # type: ignore[arg-type] # ours, and a number
            yield signal_of("rug_pull", category="definition_change", score=score)


class Firsts:
    """Remembers first digests in this process; the oldest keys are forgotten.

    >>> firsts = Firsts(limit=2)
    >>> firsts.first("a", "1"), firsts.first("a", "2")
    (None, '1')
    """

    __slots__ = ("_digests", "_limit")

    def __init__(self, *, limit: int = 4_096) -> None:
        self._digests: dict[str, str] = {}
        self._limit = limit

    def first(self, key: str, digest: str) -> str | None:
        """The digest that was first given for ``key``, if it was another; where there is none, this one is now."""
        before = self._digests.setdefault(key, digest)  # one step, whatever other threads do
        while len(self._digests) > self._limit:
            self._digests.pop(next(iter(self._digests.copy()), ""), None)
        return before if before != digest else None

    def __repr__(self) -> str:
        return f"Firsts({len(self._digests)} of {self._limit})"


def digest_of(text: str) -> str:
    """What stands for a text where the text itself must not be kept.

    >>> digest_of("Adds two numbers.")[:8], len(digest_of(""))
    ('40df9433', 32)
    """
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def is_definition(request: GuardRequest) -> bool:
    """Whether a text tells a model, or a client, what a tool or a server does."""
    return request.action == "connect_server" or (request.stage is Stage.PROMPT and request.role == DEFINED)
