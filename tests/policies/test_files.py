"""Policies from files: read anew when they change, kept when they break, refused at the start with their place."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from highflame_middleware.errors import ConfigError
from highflame_middleware.policies import PolicySet
from highflame_middleware.types import Decision

PERMIT = '@id("permit") permit (principal, action, resource);\n'
FORBID = '@id("forbid") forbid (principal, action, resource);\n'
SCORE = "context has injection_score && context.injection_score > 1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.cedar"
    path.write_text(PERMIT, "utf-8")
    return path


def allowed(rules: PolicySet) -> bool:
    return rules.decide({}, action="process_prompt").decision is Decision.ALLOW


def soon(rules: PolicySet) -> None:
    """Let the time pass after which files are looked at."""
    time.sleep(0.02)
    allowed(rules)


def test_files_are_read_anew_when_they_change(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = PolicySet.from_files(file, check_every=0.01)
    before = rules.status
    assert allowed(rules)
    file.write_text(PERMIT + FORBID, "utf-8")
    soon(rules)
    assert not allowed(rules)
    assert rules.status.policies == 2
    assert rules.status.digest != before.digest
    assert rules.status.error is None
    assert [record.message for record in caplog.records if record.name == "highflame_middleware.policies"] == []


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen_while_the_file_is_young(file: Path) -> None:
    rules = PolicySet.from_files(file, check_every=0.01)
    status = file.stat()
    file.write_text(FORBID, "utf-8")
    assert file.stat().st_size == status.st_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    soon(rules)
    assert not allowed(rules)


def test_nothing_is_read_before_its_time(file: Path) -> None:
    rules = PolicySet.from_files(file, check_every=60)
    file.write_text(FORBID, "utf-8")
    soon(rules)
    assert allowed(rules)


def test_a_file_that_breaks_leaves_what_is_in_force(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = PolicySet.from_files(file, check_every=0.01)
    file.write_text(PERMIT + "forbid (principal, action, resouce);", "utf-8")
    for _ in range(4):
        soon(rules)
    assert allowed(rules)
    assert "own.cedar:2" in str(rules.status.error)
    assert rules.status.policies == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "own.cedar:2" in warnings[0]
    file.unlink()
    soon(rules)
    assert allowed(rules)
    assert "cannot be read" in str(rules.status.error)
    file.write_text(PERMIT, "utf-8")
    soon(rules)
    assert rules.status.error is None
    file.write_text(PERMIT + FORBID, "utf-8")
    soon(rules)
    assert not allowed(rules)


def test_files_come_and_go_in_a_directory(tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "a.cedar").write_text(PERMIT, "utf-8")
    (directory / "README.md").write_text("no policy", "utf-8")
    rules = PolicySet.from_files(directory, check_every=0.01)
    assert allowed(rules)
    (directory / "b.cedar").write_text(FORBID, "utf-8")
    soon(rules)
    assert not allowed(rules)
    assert len(rules.status.sources) == 2
    (directory / "b.cedar").unlink()
    soon(rules)
    assert allowed(rules)


def test_many_threads_ask_while_files_change(file: Path) -> None:
    rules = PolicySet.from_files(file, check_every=0.001)
    seen: set[Decision] = set()
    errors: list[tuple[str, ...]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            outcome = rules.decide({}, action="process_prompt")
            seen.add(outcome.decision)
            errors.extend([outcome.errors] if outcome.errors else [])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        file.write_text(PERMIT + (FORBID if turn % 2 == 0 else ""), "utf-8")
        time.sleep(0.03)
    over.set()
    for thread in threads:
        thread.join(10)
    assert errors == []
    assert seen == {Decision.ALLOW, Decision.DENY}


def test_templates_go_with_files(file: Path) -> None:
    file.write_text(
        f'@id("own") forbid (principal, action == Guardrails::Action::"call_tool", resource) when {{{SCORE}}};'
    )
    rules = PolicySet.from_files(file, templates=["organization.permit-baseline"])
    assert allowed(rules)
    assert rules.decide({"injection_score": 2}, action="call_tool").decision is Decision.DENY
    assert rules.status.sources[0] == "highflame-policy/organization.permit-baseline"


def test_that_nothing_is_permitted_is_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(FORBID, "utf-8")
    assert not allowed(PolicySet.from_files(file))
    assert "permits" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no policy"),
        ("// only words\n", "no policy"),
        ("permit (principal, action, resource)", "own.cedar:1: a policy is not ended"),
        (PERMIT + "\n\nforbid (principal, action, resouce);", "own.cedar:4: not a Cedar policy: .*resouce"),
        (PERMIT + "forbid (principal, action, resource) when { 1 + };", "own.cedar:2: not a Cedar policy"),
        (
            PERMIT + 'forbid (principal, action == Action::"call_tool", resource);',
            "own.cedar:2: .*unrecognized action",
        ),
        (
            PERMIT + '\nforbid (principal, action == Guardrails::Action::"call_tol", resource);',
            "own.cedar:3: .*unrecognized action",
        ),
        (
            PERMIT + "forbid (principal, action, resource) when { context.injection_score > 1 };",
            "own.cedar:2: .*schema",
        ),
        (
            PERMIT + f"forbid (principal, action, resource) when {{ {SCORE} && context.injection_score }};",
            "own.cedar:2",
        ),
        ("permit (principal == ?principal, action, resource);", "own.cedar:1: a template"),
        (PERMIT + PERMIT, "own.cedar:2: the id 'permit' is taken by .*own.cedar:1"),
        ('permit (principal, action, resource) when { "never ended };', "own.cedar:1: a string is not ended"),
        ("permit (principal, action, resource] ;", "own.cedar:1: ']' closes nothing"),
        ("\ufeffnonsense;", "own.cedar:1: not a Cedar policy"),
    ],
)
def test_a_broken_file_is_an_error_with_its_place(file: Path, text: str, said: str) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said):
        PolicySet.from_files(file)


def test_what_is_no_policy_file(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cedar")
    (tmp_path / "latin.cedar").write_bytes(b"// caf\xe9\n")
    (tmp_path / "empty").mkdir()
    for path, said in (
        (tmp_path / "absent.cedar", "cannot be read"),
        (tmp_path / "pipe.cedar", "is no file"),
        (tmp_path / "latin.cedar", "byte 6"),
        (tmp_path / "empty", "no directory of policies"),
    ):
        with pytest.raises(ConfigError, match=said):
            PolicySet.from_files(path)
    with pytest.raises(ConfigError, match="needs a file"):
        PolicySet.from_files()
    for never in (0, -1, True, "2", float("nan")):
        with pytest.raises(ConfigError, match="check_every"):
            PolicySet.from_files(file, check_every=never)  # type: ignore[arg-type]


# Files made to end the process, to take for ever, or to fill its memory. In a process of its own, with the smallest
# stack that a platform gives to a thread.
HOSTILE = {
    "brackets": "permit (principal, action, resource) when { " + "(" * 5_000 + "true" + ")" * 5_000 + " };",
    "sets": "permit (principal, action, resource) when { " + "[" * 5_000 + "]" * 5_000 + ".isEmpty() };",
    "records": "permit (principal, action, resource) when { " + "{a:" * 5_000 + "1" + "}" * 5_000 + " == 1 };",
    "ifs": "permit (principal, action, resource) when { " + "if true then false else " * 9_000 + "true };",
    "conditions": "permit (principal, action, resource) when { " + "if " * 9_000 + "true };",
    "operators": "permit (principal, action, resource) when { 1" + "+1" * 100_000 + " == 1 };",
    "dots": "permit (principal, action, resource) when { context" + ".a" * 100_000 + " == 1 };",
    "indices": "permit (principal, action, resource) when { context" + '["a"]' * 50_000 + " == 1 };",
    "operators, fewer": "permit (principal, action, resource) when { 1" + "+1" * 9_000 + " == 1 };",
    "dots, fewer": "permit (principal, action, resource) when { context" + ".a" * 9_000 + " == 1 };",
    "nots": "permit (principal, action, resource) when { " + "!" * 100_000 + "true };",
    "many": "permit (principal, action, resource);\n" * 12_000,
    "long": "//" + "x" * 600_000,
    "quotes": '"' * 400_001,
    "escapes": '"' + "\\" * 400_001,
    "depth within bounds": "permit (principal, action, resource) when { "
    + "(" * 16
    + " && ".join(["true"] * 150)
    + ")" * 16
    + " };",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_neither_ends_the_process_nor_takes_for_ever(tmp_path: Path, name: str) -> None:
    file = tmp_path / "hostile.cedar"
    file.write_text(HOSTILE[name], "utf-8")
    program = f"""
import threading, time
threading.stack_size(512 * 1024)
from highflame_middleware.errors import ConfigError
from highflame_middleware.policies import PolicySet
began = time.perf_counter()
try:
    print(PolicySet.from_files({str(file)!r}))
except ConfigError as error:
    print("refused", str(error)[-300:])
assert time.perf_counter() - began < 10
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-500:])
    if name != "depth within bounds":
        assert ran.stdout.startswith("refused"), ran.stdout


def test_a_policy_that_cannot_be_evaluated_denies_although_another_permits(file: Path) -> None:
    """Cedar leaves out what fails: a forbid that does would be a silent allow."""
    overflow = "context has injection_score && context.injection_score * 9223372036854775807 > 1"
    only = 'forbid (principal, action == Guardrails::Action::"process_prompt", resource)'
    file.write_text(PERMIT + f'@id("own.overflow") {only} when {{ {overflow} }};', "utf-8")
    rules = PolicySet.from_files(file)
    assert allowed(rules)
    outcome = rules.decide({"injection_score": 77}, action="process_prompt")
    assert outcome.decision is Decision.DENY
    assert "own.overflow" in outcome.errors[0]
    assert "cannot be evaluated" in str(outcome.reason)
    assert "77" not in repr(outcome)
    assert str(file.parent) not in repr(outcome)


def test_a_policy_that_always_fails_does_not_pass_the_self_test(file: Path) -> None:
    file.write_text(PERMIT + "forbid (principal, action, resource) when { 9223372036854775807 + 1 > 1 };", "utf-8")
    with pytest.raises(ConfigError, match=r"self-test.*own\.cedar#2 cannot be evaluated"):
        PolicySet.from_files(file)
