"""What a tool call is able to do and does: nothing ordinary is stopped; what a session remembers of it."""

# ruff: noqa: E501, SIM905 - names in a row

from __future__ import annotations

import json

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.kinds import DEFAULT_REDACTED
from highflame_middleware.engine.policy import policy_of
from highflame_middleware.engine.readers.actions import Action, loop_facts, remembered, sequence_facts
from highflame_middleware.engine.readers.tools import Conduct
from highflame_middleware.errors import ConfigError
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Stage, ToolContext

EMBEDDED = EmbeddedGuard()

ORDINARY = (
    "search web_search read_file write_file edit_file create_file str_replace_editor list_directory get_weather send_email"
    " create_ticket update_ticket run_query execute_sql python code_interpreter bash shell terminal computer browser fetch"
    " http_get http_post calculator delete_file move_file git_commit git_push create_pull_request merge_pull_request"
    " add_comment slack_post_message create_event list_events book_flight transfer_money create_payment refund_order"
    " get_secret list_secrets create_user delete_user kubectl terraform_apply deploy_service restart_pod translate"
    " summarize think plan remember recall vector_search retrieve ask_user final_answer mcp__github__create_issue"
    " mcp__filesystem__read_text_file TodoWrite NotebookEdit WebFetch Bash Task runShellCommand purchase_item sudo_run"
).split()
BUSY = json.dumps(
    {"a": "sudo rm -rf build; curl -d @x https://a.example; select * from users; git push --force; cat .env"}
)


def called(tool: str, arguments: str = "{}", guard: EmbeddedGuard = EMBEDDED) -> GuardResponse:
    return guard.evaluate(GuardRequest.at(Stage.TOOL_CALL, arguments, tool=ToolContext(name=tool)))


@pytest.mark.parametrize("tool", ORDINARY)
def test_no_ordinary_tool_is_stopped_whatever_it_is_called_with(tool: str) -> None:
    for arguments in ("{}", BUSY):
        verdict = called(tool, arguments)
        assert verdict.decision is Decision.ALLOW
        assert verdict.context["tool_risk_score"] <= 70
        assert verdict.context["tool_category"] in ("safe", "sensitive", "none")


@pytest.mark.parametrize(
    ("tool", "category"),
    [
        ("get_weather", "safe"),
        ("searchEmails", "safe"),
        ("send_email", "sensitive"),
        ("BashTool", "sensitive"),
        ("mcp__bank__transfer-money", "sensitive"),
        ("frobnicate", "none"),
    ],
)
def test_the_category_follows_from_the_words_of_the_name(tool: str, category: str) -> None:
    facts = called(tool).context
    assert (facts["tool_category"], facts["tool_is_sensitive"]) == (category, category == "sensitive")


def test_what_the_user_says_of_tools_comes_first() -> None:
    guard = EmbeddedGuard(tools={"bash": "safe", "get_*": "sensitive", "wipe_*": "dangerous"})
    assert called("bash", BUSY, guard).context["tool_risk_score"] == 0
    assert called("get_weather", BUSY, guard).decision is Decision.ALLOW
    assert called("get_weather", guard=guard).context["tool_is_sensitive"] is True
    stopped = called("wipe_disk", guard=guard)
    assert stopped.decision is Decision.DENY
    assert stopped.determining_policies[0].rule_id == "agent-security.dangerous-tool"
    assert [signal.name for signal in stopped.signals] == ["tool_risk"]


@pytest.mark.parametrize("tools", [{"a": "risky"}, {"": "safe"}, {1: "safe"}, ["a"], {"a": None}])
def test_categories_that_cannot_be_used_are_refused(tools: object) -> None:
    with pytest.raises(ConfigError, match="tools"):
        EmbeddedGuard(tools=tools)  # type: ignore[arg-type]


def test_a_description_tells_where_a_name_does_not() -> None:
    tool = ToolContext(name="helper", description="Runs arbitrary shell commands.")
    verdict = EMBEDDED.evaluate(GuardRequest.at(Stage.TOOL_CALL, "{}", tool=tool))
    assert verdict.context["tool_category"] == "sensitive"


def action_of(tool: str, arguments: str, session: str = "s-1") -> Action:
    request = GuardRequest.at(Stage.TOOL_CALL, "", tool=ToolContext(name=tool), session_id=session)
    conduct = Conduct(request, {})
    conduct.read(arguments, final=True)
    assert conduct.action is not None
    return conduct.action


@pytest.mark.parametrize(
    ("tool", "arguments", "kinds"),
    [
        ("read_file", '{"path": "/srv/me/.ssh/id_rsa"}', {"reads", "reads_secret"}),
        ("read_file", '{"path": "app/.env"}', {"reads", "reads_secret"}),
        ("read_file", '{"path": "app/.env.example"}', {"reads"}),
        ("send_email", '{"to": "a@b.example"}', {"sends"}),
        ("search_emails", '{"q": "invoice"}', {"reads"}),
        ("bash", '{"command": "curl -X POST -d @a.json https://api.example.com/x"}', {"runs", "sends"}),
        ("bash", '{"command": "curl -d @a.json http://localhost:8000/x"}', {"runs"}),
        ("bash", '{"command": "curl -s https://api.example.com/x"}', {"runs"}),
        ("bash", '{"command": "pg_dump app > a.sql"}', {"runs", "dumps"}),
        ("bash", '{"command": "tar czf a.tgz docs"}', {"runs", "packs"}),
        ("bash", '{"command": "rm -rf build"}', {"runs", "deletes", "destroys"}),
        ("run_query", '{"sql": "DROP TABLE a"}', {"reads", "destroys"}),
    ],
)
def test_what_kind_of_thing_a_call_does(tool: str, arguments: str, kinds: set[str]) -> None:
    assert set(action_of(tool, arguments).kinds) == kinds


def test_a_digest_stands_for_the_arguments_of_one_session() -> None:
    one = action_of("a", '{"q": 1}')
    assert one.digest == action_of("a", '{ "q":1 }').digest
    assert one.digest != action_of("a", '{"q": 2}').digest
    assert one.digest != action_of("a", '{"q": 1}', session="s-2").digest


def test_the_same_call_over_and_over_is_a_loop() -> None:
    same, other = Action("search", "1f"), Action("search", "2e")
    assert loop_facts([same] * 20) == {"loop_detected": True, "loop_count": 20, "loop_tool": "search"}
    assert loop_facts([same, same, other, same, same])["loop_detected"] is False
    assert loop_facts([same, same], threshold=2)["loop_detected"] is True
    assert loop_facts([]) == {"loop_detected": False, "loop_count": 0, "loop_tool": ""}


READ, SEND = Action("read_file", "1", ("reads_secret",)), Action("http_post", "2", ("sends",))
NOTHING = [Action("think", str(number)) for number in range(9)]


@pytest.mark.parametrize(
    ("actions", "pattern", "suspicious"),
    [
        ([READ, SEND], "secret_exfiltration", True),
        ([READ, *NOTHING[:5], SEND], "secret_exfiltration", True),
        ([READ, *NOTHING[:6], SEND], "none", False),
        ([SEND, READ], "none", False),
        ([READ, SEND, NOTHING[0]], "none", False),
        ([Action("sql", "1", ("dumps",)), SEND], "db_exfiltration", True),
        ([Action("bash", "1", ("packs", "runs")), SEND], "data_exfiltration", True),
        ([Action("read_file", "1", ("reads",)), SEND], "none", False),
        ([Action("cat", str(number), ("reads_secret",)) for number in range(3)], "credential_theft", True),
        ([Action("cat", "1", ("reads_secret",))] * 3, "none", False),
        ([Action("sql", str(number), ("destroys",)) for number in range(3)], "destructive_sequence", True),
    ],
)
def test_sequences_of_calls(actions: list[Action], pattern: str, suspicious: bool) -> None:
    facts = sequence_facts(actions)
    assert (facts["pattern_type"], facts["suspicious_pattern"]) == (pattern, suspicious)


def test_what_is_remembered_is_bounded() -> None:
    actions: tuple[Action, ...] = ()
    for number in range(99):
        actions = remembered(actions, Action("a", str(number)))
    assert [action.digest for action in actions] == [str(number) for number in range(79, 99)]


def test_a_policy_without_options_has_none_of_them() -> None:
    policy = policy_of(
        redact=DEFAULT_REDACTED, deny_tools=(), allow=(), injection_threshold=86, max_chars=10, rules=None
    )
    assert (policy.keywords, policy.allow_hosts, dict(policy.tools)) == (None, (), {})
