"""SQL that breaks out of the value it was put into.

SQL as such is no sign of anything: agents write it all day, and so do people who
ask about it. What is looked for is a quote closed where none was opened, and what follows it.
"""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

from ...guard.rules import Fact
from ..wording.tally import Rule
from .reader import Watch

__all__ = ["SQL"]

_Q = r"(?:\\{0,2}['\"`]|%27|%22)"
_S = r"(?:\s|/\*[^*]{0,12}\*/|\+|%20|\\[nt]){0,4}"
_G = r"(?:\s|/\*[^*]{0,12}\*/|\+|%20|\\[nt]){1,4}"
_END = r"(?:--|#|/\*|;|%23|%2d%2d)"
_SAME = r"(?:\(?\d{1,6}\s?(?:=|<|>|like)\s?\d{1,6}|(?:\\{0,2}['\"])?(\w{1,12})(?:\\{0,2}['\"])?\s?(?:=|like)\s?(?:\\{0,2}['\"])?\1\b)"
_OR, _AND = "or |or(|or/*|or+|or%20|or'|or\"", "and |and(|and/*|and+|and%20"
_OPENED = rf"(?:['\"`)]|%27|\d){_S}$"

_ROWS: tuple[Rule, ...] = (
    Rule("tautology", 90, _OR, rf"or{_S}\(?{_SAME}.{{0,24}}?{_END}", rf"{_Q}{_S}\)?{_S}$"),
    Rule("tautology", 80, _OR, rf"or{_S}\(?{_Q}(\w{{1,12}}){_Q}{_S}={_S}{_Q}\1\b", rf"{_Q}{_S}\)?{_S}$"),
    Rule("tautology", 60, "or 1=1|or 1 = 1|or true--", r"or (?:1 ?= ?1|true--)"),
    Rule("conditional", 80, _AND, rf"and{_G}\(?\d{{1,6}}\s?(?:=|<|>)\s?\d{{1,6}}.{{0,24}}?{_END}", rf"{_Q}{_G}$"),
    Rule("auth_bypass", 85, "admin'|root'|sa'|administrator'|user'|admin\"", rf"\w{{2,13}}{_Q}\s{{0,2}}\)?\s?(?:--(?:[\s'\"\\+]|$)|#|/\*)"),
    Rule(
        "union_based",
        85,
        "union",
        rf"union{_G}(?:all{_G}|distinct{_G})?select{_G}"
        r"(?:null\b\s?,|\d{1,3}\s?,\s?\d{1,3}\s?,|@@\w|(?:user|version|database|concat|group_concat|char|load_file)\()",
    ),
    Rule("union_based", 85, "union", rf"union{_G}(?:all{_G})?select\b.{{0,160}}?(?:--|#)", rf"{_Q}{_S}\)?{_S}$"),
    Rule("time_blind", 85, "sleep(|pg_sleep(|benchmark(|waitfor delay", r"[a-z_]{5,9}[( ]", rf"{_Q}.{{0,40}}\b(?:or|and|if|select|;){_S}\(?(?:select{_G})?(?:\w{{1,8}},)?$"),
    Rule("time_blind", 85, "waitfor delay", r"waitfor delay\s{1,2}(?:\\{0,2}')\d", rf";{_S}$"),
    Rule("error_based", 85, "extractvalue(|updatexml(", r"[a-z]{9,12}\([^)]{0,24}?,\s?(?:concat|0x7e)"),
    Rule("error_based", 85, "floor(rand(0)*2)"),
    Rule("destructive", 90, "drop |truncate |delete |shutdown", rf"(?:drop{_G}(?:table|database|schema)|truncate{_G}table|delete{_G}from|shutdown)\b.{{0,80}}?(?:--|#|/\*)", rf"{_OPENED.removesuffix('$')};{_S}$"),
    Rule("stacked_queries", 60, "drop |exec |insert |update |alter ", r"\w{4,6} \w", rf"['\"]{_S}\)?{_S};{_S}$"),
    Rule("code_execution", 85, "xp_cmdshell|sp_oacreate", r"\w{11}\b['\"\s(]"),
    Rule("code_execution", 75, "into outfile|into dumpfile", rf"into \w{{7,8}}{_G}{_Q}"),
    Rule("code_execution", 75, "from program|to program", rf"\w{{2,4}} program{_G}{_Q}", r"\bcopy\b.{0,60}$"),
    Rule("data_exfiltration", 80, "load_file(|utl_http.request|dbms_ldap", r"[\w.]{8,16}\(?", rf"(?:{_Q}|union|select{_G}).{{0,24}}$"),
    Rule("system_table_access", 70, "information_schema.|sysobjects|pg_shadow|mysql.user|sqlite_master", before=rf"(?:{_Q}{_S}\)?{_S}(?:union|;|or|and)\b|\bunion\b).{{0,48}}$"),
    Rule("evasion", 85, "/*", r"/\*[^*]{0,12}\*/(?:select|union|or|and|from)\b", r"[\w')]$"),
    Rule("evasion", 85, "%27|%2527", r"%(?:25)?27(?:%20|\+|%2520){0,4}(?:or|and|union|;)\b"),
)  # fmt: skip


def _tell(type_: str, score: int) -> dict[str, Fact]:
    return {
        "sql_injection_detected": score >= SQL.reports,
        "sql_injection_type": type_ if score >= SQL.reports else "none",
        "sql_injection_score": score,
    }


# Each row has one of these in it.
_SIGNS = (
    *("=", ";", "--", "#", "/*", "select", "%2", "sleep(", "benchmark(", "waitfor", "extractvalue(", "updatexml("),
    *(
        "rand(0)",
        "xp_cmdshell",
        "sp_oacreate",
        " program",
        "load_file(",
        "utl_http",
        "dbms_ldap",
        "information_schema",
    ),
)
SQL = Watch("sql_injection", _ROWS, _tell, only_with=_SIGNS)
