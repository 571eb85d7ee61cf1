"""How risky a tool call is, by the tool's name and its arguments, and what kind of thing it does.

By default nothing is stopped for what it is called: agents run shells, write files
and send mail all day. A tool is ``dangerous`` only where the user says so.
"""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b

from ...guard.rules import Fact
from ...types import GuardRequest, Signal, ToolContext
from ..kinds import signal_of
from ..wording.tally import Rule
from .actions import Action
from .reader import Span, compiled, hits

__all__ = ["CATEGORIES", "Conduct", "rate", "writes_text"]

#: What a user may call a tool, and the score that it then has.
CATEGORIES: Mapping[str, int] = {"safe": 0, "sensitive": 65, "dangerous": 95}

_UNKNOWN = 20
_MOST = 70  # that a name and arguments alone can come to: Shield's policies stop a sensitive tool from 71 on

# Words in a tool's name: what it is able to do, and what that is worth.
_RUNS = "shell bash terminal exec execute subprocess powershell cmd eval command repl sudo ssh interpreter"
_DELETES = "delete remove drop destroy wipe purge truncate erase uninstall terminate kill revoke"
_MOVES_MONEY = "payment pay transfer refund wire purchase charge payout withdraw trade invoice"
_GRANTS = "grant permission permissions credential credentials secret secrets password token role iam impersonate"
_SENDS = "send post publish upload email mail sms tweet webhook notify share forward reply message broadcast"
_WRITES = (
    "write create update edit patch insert append save modify replace move rename commit push merge upsert put"
)
_DEPLOYS = "deploy release restart shutdown reboot provision scale migrate install"
_READS = (
    "read get list search find fetch query lookup view show describe open browse load retrieve count check ls cat"
)
_LOOKS = frozenset(
    {"search", "list", "get", "read", "count", "check", "find", "describe", "view"}
)  # and does no more
_SAFE = "search weather calculator calculate time date now think plan math convert translate lookup help ping"

_SCORES: tuple[tuple[str, int], ...] = (
    (_MOVES_MONEY, 65),
    (_GRANTS, 60),
    (_RUNS, 60),
    (_DELETES, 60),
    (_DEPLOYS, 55),
    (_SENDS, 50),
    (_WRITES, 50),
    (_SAFE, 5),
    (_READS, 10),
)
_SENSITIVE = 50  # from this score on

_KINDS_BY_NAME: tuple[tuple[str, str], ...] = (
    ("reads", _READS),
    ("writes", _WRITES),
    ("deletes", _DELETES),
    ("sends", _SENDS),
    ("runs", _RUNS),
)

_STORES = (
    r"(?:\.ssh/(?:id_|identity|authorized)|id_rsa\b|id_ed25519\b|\.aws/credentials|\.kube/config|\.netrc\b|\.npmrc\b|\.pypirc\b"
    r"|\.git-credentials|/etc/shadow|\.env(?:\.(?:local|production|prod|staging))?(?=[\s\"'\\;|&)]|$)|\.docker/config\.json"
    r"|credentials\.json|service[_-]account\w{0,12}\.json|\.gnupg/|wallet\.dat|keychain|login data\b|\.pgpass|secrets\.ya?ml)"
)
_OUTSIDE = r"(?!https?://(?:localhost|127\.|0\.0\.0\.0|\[::1\]|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|[\w.-]{1,60}\.(?:local|internal|svc)\b))"
_BODY = r"(?:-d|--data\S{0,12}|-f|--form\S{0,8}|-t|--upload-file|--post-(?:data|file)\S{0,4}|-x\W{1,4}(?:post|put)|--json)[\s\"'=,\\]"

# What arguments tell of the kind of thing that a call does; the weight is what it adds to the tool's risk.
_ROWS: tuple[Rule, ...] = (
    Rule("reads_secret", 10, ".ssh/|id_rsa|id_ed25519|.aws/|.kube/|.netrc|.npmrc|.pypirc|.git-cred|/etc/shadow|.env|.docker/|credentials.json|service|.gnupg/|wallet.dat|keychain|login data|.pgpass|secrets.y", _STORES),
    Rule("dumps", 5, "pg_dump|mysqldump|mongodump|mongoexport|pg_dumpall|sqlite3 ", r"(?:\w{7,11}\b|sqlite3 \S{1,60} \W{0,2}\.dump)"),
    Rule("dumps", 5, "select *", r"select \* from [\w.\"\\`\[\]]{1,60}\s{0,4}(?:;|\"|\\|$)"),
    Rule("packs", 5, "tar |zip |7z ", r"(?:tar (?:\S{1,12} )?-{0,2}[a-z]{0,6}c[a-z]{0,6}|zip -\w{0,6}r|7z a)\b"),
    Rule("sends", 5, "curl|wget|httpie|invoke-webrequest", rf"[a-z-]{{4,17}}\b(?=[^|;]{{0,200}}?{_BODY})[^|;]{{0,240}}?(?<![\w.]){_OUTSIDE}https?://\w"),
    Rule("sends", 5, "scp |rsync |sftp ", r"\w{3,5} [^|;]{0,160}?[\s\"'][\w.-]{1,40}(?:@[\w.-]{1,60})?:"),
    Rule("sends", 5, "nc |ncat |netcat ", r"\w{2,6} (?:-\w{1,4} )?(?!localhost|127\.)[\w.-]{3,60} \d{2,5}\b"),
    Rule("sends", 5, "requests.post(|requests.put(|httpx.post(|axios.post(", rf"[\w.]{{9,14}}\([\s\\\"'f]{{0,6}}{_OUTSIDE}https?://"),
    Rule("deletes", 5, "rm |del |rmdir |unlink|delete from", r"(?:rm|del|rmdir)\s+-{0,2}[\w/.~*\"'\\]|unlink\b|delete from \w"),
    Rule("destroys", 10, "drop table|drop database|drop schema|truncate table", r"\w{4,8} \w{5,8}\s"),
    Rule("destroys", 10, "rm -", r"rm (?:-\w{1,8} ){0,3}-\w{0,6}r\w{0,6}f|rm (?:-\w{1,8} ){0,3}-\w{0,6}f\w{0,6}r"),
    Rule("destroys", 10, "git push|git reset|git clean|terraform destroy|kubectl delete", r"git push\b[^|;]{0,60}?(?:--force\b|-f\b)|git reset --hard|git clean -\w{0,3}f|terraform destroy|kubectl delete (?:ns|namespace|pvc|deploy)"),
    Rule("elevates", 10, "sudo |chmod 777|chmod -r 777|doas |runas ", r"\w{4,5} "),
)  # fmt: skip


class Conduct:
    """What a tool is, and what this call of it does; its `action` is for the session to remember."""

    __slots__ = ("_added", "_arguments", "_kinds", "_score", "_span", "_tool", "action", "facts")

    def __init__(self, request: GuardRequest, tools: Mapping[str, str]) -> None:
        tool = request.tool or ToolContext(name="")
        score, category = rate(tool.name, tools, tool.description or "")
        self._tool, self._score = tool.name, score
        self._kinds = set(_kinds_of(tool.name))
        self._added: dict[str, int] = {}
        self._span = Span(before=8, reach=460)
        # Keyed by the session: what stands for the arguments of one tells nothing about those of another.
        self._arguments = blake2b(
            digest_size=16, key=(request.session_id or "").encode(errors="surrogatepass")[:64]
        )
        self.action: Action | None = None  # known once the arguments are
        self.facts: Mapping[str, Fact] = {
            "tool_name": tool.name,
            "tool_is_builtin": tool.is_builtin,
            "tool_category": category,
            "tool_is_sensitive": category in ("sensitive", "dangerous"),
            "tool_risk_score": score,
            **_server_of(request, tool),
        }

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the arguments."""
        self._arguments.update("".join(folded.split()).encode(errors="surrogatepass"))
        taken = self._span.take(folded, final=final)
        new = False
        for row in () if taken is None else hits(_ROWS, *taken, before=8):
            new = new or row.name not in self._added
            self._added[row.name] = max(row.weight, self._added.get(row.name, 0))
        if new:
            self._kinds |= self._added.keys() - {"elevates"}
            if self.facts["tool_category"] in ("sensitive", "none"):
                score = max(self._score, min(_MOST, self._score + sum(self._added.values())))
                self.facts = {**self.facts, "tool_risk_score": score}
        if final:
            self.action = Action(self._tool[:200], self._arguments.hexdigest(), tuple(sorted(self._kinds)))
        return new

    def signals(self) -> Iterable[Signal]:
        """The tool, where the user has called it dangerous."""
        if self.facts["tool_category"] == "dangerous":
            yield signal_of("dangerous_tool")


def rate(name: str, tools: Mapping[str, str], description: str = "") -> tuple[int, str]:
    """A tool's risk, from 0 to 100, and its category: the user's where a pattern fits, else by the words of its name.

    >>> rate("get_weather", {}), rate("runShellCommand", {}), rate("wipe_disk", {"wipe_*": "dangerous"})
    ((10, 'safe'), (60, 'sensitive'), (95, 'dangerous'))
    """
    for pattern, category in tools.items():
        if fnmatchcase(name, pattern):
            return CATEGORIES[category], category
    score = rate_of(name)
    if score == _UNKNOWN and _runs_code(description[:1_000].lower()):
        score = 55
    return score, "sensitive" if score >= _SENSITIVE else "safe" if score < _UNKNOWN else "none"


@functools.lru_cache(maxsize=512)
def rate_of(name: str) -> int:
    """The score of a tool's name: that of the gravest word in it."""
    words = _words(name)
    scores = [score for row, score in _SCORES if not words.isdisjoint(row.split())]
    if not words.isdisjoint(_LOOKS):
        # A tool that lists secrets or searches mail does not give or send any.
        scores = [min(score, 30) for score in scores]
    return max(scores, default=_UNKNOWN)


def writes_text(name: str) -> bool:
    """Whether a tool is given texts to keep or to send, in which code of any kind may stand as such.

    >>> writes_text("str_replace_editor"), writes_text("create_file"), writes_text("run_query")
    (True, True, False)
    """
    return not _words(name).isdisjoint((*_WRITES.split(), *_SENDS.split(), "editor", "comment", "note", "todo"))


def _kinds_of(name: str) -> Iterable[str]:
    words = _words(name)
    kinds = [kind for kind, row in _KINDS_BY_NAME if not words.isdisjoint(row.split())]
    return ["reads"] if "reads" in kinds and not words.isdisjoint(_LOOKS) else kinds


@functools.lru_cache(maxsize=512)
def _words(name: str) -> frozenset[str]:
    """The words of a name such as ``run_query``, ``runQuery`` or ``mcp__db__run-query``."""
    return frozenset(word.lower() for word in compiled(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+").findall(name[:200]))


def _runs_code(description: str) -> bool:
    pattern = r"(?:run|execut)\w{0,4} (?:\w{1,12} ){0,4}?(?:shell|bash|commands?|arbitrary|python|code|scripts?)\b"
    return compiled(pattern).search(description) is not None


def _server_of(request: GuardRequest, tool: ToolContext) -> dict[str, Fact]:
    server = request.mcp.server_name if request.mcp is not None else tool.server_id
    if server is None:
        return {}
    facts: dict[str, Fact] = {"mcp_server": server, "mcp_tool": tool.name}
    if request.mcp is not None and request.mcp.verified is not None:
        facts["mcp_server_verified"] = request.mcp.verified
    return facts
