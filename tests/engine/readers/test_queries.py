"""SQL and paths that break out: stopped where they are executed, reported where they are only spoken of."""

from __future__ import annotations

import json

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.types import Decision, FileContext, GuardRequest, GuardResponse, Stage, ToolContext

EMBEDDED = EmbeddedGuard()

SQL = {
    "' OR 1=1 --": "tautology",
    '" or ""="" or 2>1 #': "tautology",
    "x') or ('a'='a": "tautology",
    "' or/**/1=1#": "tautology",
    "' AND 1=2 --": "conditional",
    "admin'--": "auth_bypass",
    "1' UNION SELECT null, username, password FROM users --": "union_based",
    "-1 UNION ALL SELECT 1,2,@@version": "union_based",
    "1' AND (SELECT sleep(5)) --": "time_blind",
    "1; WAITFOR DELAY '0:0:5'--": "time_blind",
    "1' and extractvalue(1,concat(0x7e,version()))--": "error_based",
    "'; DROP TABLE users; --": "destructive",
    "'; exec xp_cmdshell('dir')--": "code_execution",
    "%27%20or%201=1": "evasion",
    "1' UN/**/ION/**/SELECT 1 --": "evasion",
}
USUAL_SQL = [
    "SELECT * FROM users WHERE name = 'o''brien' AND active = 1 OR id = 2;",
    "SELECT a FROM t UNION SELECT b FROM u ORDER BY 1",
    "SELECT * FROM t WHERE 1=1 AND a = 'x' -- all of them",
    "INSERT INTO logs VALUES ('a', 'b'); UPDATE t SET a = 'it is' WHERE b = 'or so';",
    "DELETE FROM sessions WHERE expires < now(); -- nightly",
    "CREATE TABLE a (b text); ALTER TABLE a ADD c int; DROP TABLE IF EXISTS old;",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
    "the user's name, or 'nickname', and the dog's -- all of it",
]
PATHS = {
    "../../../../etc/passwd": "sensitive_target",
    "C:\\..\\..\\..\\windows\\win.ini": "sensitive_target",
    "..%2f..%2f..%2fapp.conf": "encoded",
    "%252e%252e%252fetc": "encoded",
    "....//....//config": "nested",
    "/files/report.php%00.jpg": "null_byte",
    "../" * 12 + "x": "dot_dot",
    "/a/..;/..;/manager/html": "matrix",
}
USUAL_PATHS = [
    "../../src/main.py",
    "../../../node_modules/x/index.js",
    "/srv/me/project/../other/a.txt",
    "./a/b/c.txt",
    "C:\\Users\\me\\a.txt",
    "https://example.com/a%20b/c%2Fd?e=100%25",
    "wait... what? and so on....",
]


def called(arguments: dict[str, str], tool: str = "lookup_user") -> GuardResponse:
    request = GuardRequest.at(Stage.TOOL_CALL, json.dumps(arguments), tool=ToolContext(name=tool))
    return EMBEDDED.evaluate(request)


@pytest.mark.parametrize("text", SQL)
def test_sql_that_breaks_out_is_stopped_in_a_call(text: str) -> None:
    verdict = called({"name": text})
    assert verdict.context["sql_injection_type"] == SQL[text]
    assert verdict.decision is Decision.DENY
    assert verdict.determining_policies[0].rule_id in ("security.sql-injection", "security.command-injection")


@pytest.mark.parametrize("text", SQL)
def test_sql_that_is_spoken_of_or_written_to_a_file_is_reported(text: str) -> None:
    for verdict in (
        EMBEDDED.evaluate(GuardRequest(content=f"Why does {text} work?")),
        called({"text": text}, "write_file"),
    ):
        assert verdict.decision is Decision.ALLOW
        assert verdict.context["sql_injection_detected"] is True
        assert verdict.context["sql_injection_score"] <= 70


@pytest.mark.parametrize("text", USUAL_SQL)
def test_usual_sql_is_nothing(text: str) -> None:
    verdict = called({"query": text}, "run_query")
    assert verdict.decision is Decision.ALLOW
    assert verdict.context.get("sql_injection_score", 0) <= 60


@pytest.mark.parametrize("text", PATHS)
def test_a_path_that_climbs_out_is_stopped_in_a_call(text: str) -> None:
    verdict = called({"path": text}, "read_file")
    assert verdict.context["path_traversal_type"] == PATHS[text]
    assert verdict.decision is Decision.DENY
    assert verdict.determining_policies[0].rule_id == "security.path-traversal"


@pytest.mark.parametrize("text", PATHS)
def test_a_path_that_is_spoken_of_is_reported(text: str) -> None:
    verdict = EMBEDDED.evaluate(GuardRequest(content=f"Read the file {text} please"))
    assert (verdict.decision, verdict.context["path_traversal_severity"]) == (Decision.ALLOW, "medium")


@pytest.mark.parametrize("text", USUAL_PATHS)
def test_usual_paths_are_nothing(text: str) -> None:
    verdict = called({"path": text}, "read_file")
    assert verdict.decision is Decision.ALLOW
    assert "path_traversal_detected" not in verdict.context


def test_the_path_of_a_file_is_read_as_well() -> None:
    def reading(path: str) -> GuardResponse:
        file = FileContext(path=path, operation="read")
        return EMBEDDED.evaluate(GuardRequest(content="a", content_type="file", action="read_file", file=file))

    assert reading("../../../etc/passwd").decision is Decision.DENY
    assert reading("notes/today.txt").decision is Decision.ALLOW
