"""The vault: a model reads words for values, the caller reads the values, and nobody else does."""

from __future__ import annotations

import json
import logging
import pickle
import random
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from highflame_middleware import EmbeddedGuard, context, instrument
from highflame_middleware.errors import BlockedError, ConfigError
from highflame_middleware.sessions import Vault
from highflame_middleware.sessions.pseudonyms import PATTERN
from highflame_middleware.types import Decision, GuardRequest, Mode, RedactionEntry, Stage, ToolContext
from tests.engine.samples import SECRETS, applied, grouped, luhn
from tests.servers import Answer, Respond, Seen, Server, chunk, events, json_answer

CARD = grouped(luhn("4", 16))
MAIL = "ada@example.org"
PROMPT = f"Write to {MAIL} about the card {CARD}."


def guarded(**options: Any) -> EmbeddedGuard:
    return EmbeddedGuard(vault=Vault(**{"types": ("pii",), **options}))


def asked(stage: Stage, text: str, session: str | None = "s1", **fields: Any) -> GuardRequest:
    return GuardRequest.at(stage, text, session_id=session, **fields)


def put(guard: EmbeddedGuard, text: str, session: str | None = "s1", **fields: Any) -> str:
    """What the model reads of a prompt."""
    verdict = guard.evaluate(asked(fields.pop("stage", Stage.PROMPT), text, session, **fields))
    return text if verdict.redacted_content is None else verdict.redacted_content


def read(guard: EmbeddedGuard, text: str, session: str | None = "s1", **fields: Any) -> str:
    """What the caller reads of a reply."""
    return put(guard, text, session, stage=Stage.RESPONSE, **fields)


def in_pieces(guard: EmbeddedGuard, text: str, cuts: list[int]) -> tuple[str, int]:
    """A reply through a window: what comes out, and the most that was held back."""
    window = guard.window(asked(Stage.RESPONSE, ""))
    entries: list[RedactionEntry] = []
    done = most = cleared = 0
    for cut in (*cuts, len(text)):
        progress = window.feed(text[done:cut])
        done = cut
        assert cleared <= progress.cleared <= done
        assert all(cleared <= one.start_pos and one.end_pos <= progress.cleared for one in progress.entries)
        cleared = progress.cleared
        entries += progress.entries
        most = max(most, done - cleared)
    last = window.finish()
    assert last.verdict is not None
    assert last.cleared == len(text)
    out = applied(text, [*entries, *last.entries])
    assert applied(text, last.verdict.redaction_entries) == out
    return out, most


def test_values_go_out_as_words_and_come_back() -> None:
    guard = guarded()
    sent = put(guard, PROMPT)
    assert MAIL not in sent
    assert CARD not in sent
    mail, card = re.findall(PATTERN, sent)
    assert sent == f"Write to {mail} about the card {card}."
    verdict = guard.evaluate(asked(Stage.RESPONSE, f"I wrote to {mail}, for {card}"))
    assert verdict.decision is Decision.MODIFY
    assert verdict.policy_reason == "Values of the vault put back"
    assert verdict.redacted_content == f"I wrote to {MAIL}, for {CARD}"


def test_the_same_value_gets_the_same_word_when_the_history_comes_again() -> None:
    guard = guarded()
    sent = put(guard, PROMPT)
    assert put(guard, PROMPT) == sent
    assert put(guard, f"say {MAIL} again") == f"say {re.findall(PATTERN, sent)[0]} again"
    # What stands for a value already is left alone on its way to the model.
    assert put(guard, sent) == sent
    history = json.dumps({"to": MAIL})
    told = put(guard, history, stage=Stage.TOOL_CALL, to_model=True, tool=ToolContext(name="mail"))
    assert json.loads(told) == {"to": re.findall(PATTERN, sent)[0]}


def test_cut_at_every_place_and_letter_by_letter() -> None:
    guard = guarded()
    mail, card = re.findall(PATTERN, put(guard, PROMPT))
    token = SECRETS["aws_access_key"]
    text = (
        f"To {mail}{card}, [{mail}], [EMAIL_ [EMAIL_bbbbbbbbbbbb] [x] {token} [{mail[:9]} {mail}\u200b{mail[:-1]}"
    )
    whole = read(guard, text)
    assert whole.startswith(
        f"To {MAIL}{CARD}, [{MAIL}], [EMAIL_ [EMAIL_bbbbbbbbbbbb] [x] [REDACTED:aws_access_key] ["
    )
    assert whole.endswith(f"{MAIL}{mail[:-1]}")
    for cut in range(len(text) + 1):
        assert in_pieces(guard, text, [cut])[0] == whole, cut
    assert in_pieces(guard, text, list(range(1, len(text))))[0] == whole


def test_random_replies_in_random_pieces() -> None:
    choice = random.Random(5)
    guard = guarded(types=("pii", "secrets"))
    words = re.findall(PATTERN, put(guard, PROMPT))
    parts = [
        *words,
        "[",
        "[EMAIL_",
        "a" * 3_000,
        "]",
        MAIL,
        CARD,
        SECRETS["github_token"],
        "password=",
        "ok",
        '"',
        "\u200b",
        "x@",
    ]
    for _ in range(300):
        text = choice.choice([" ", "", ", "]).join(str(choice.choice(parts)) for _ in range(7))
        cuts = sorted(choice.randrange(len(text) + 1) for _ in range(6))
        assert in_pieces(guard, text, cuts)[0] == read(guard, text), (text, cuts)


def test_little_is_held_back_for_what_may_be_a_word() -> None:
    guard = guarded()
    put(guard, PROMPT)
    text = "a list [1, 2] and [a link](x) and [EMAIL and [NOTE] " * 20
    out, held = in_pieces(guard, text, list(range(1, len(text))))
    assert out == text
    assert held <= 8


def test_sessions_do_not_read_each_others_words() -> None:
    guard = guarded()
    (mail,) = re.findall(PATTERN, put(guard, MAIL, "s1"))
    (other,) = re.findall(PATTERN, put(guard, MAIL, "s2"))
    assert mail != other
    assert read(guard, f"{mail} {other}", "s1") == f"{MAIL} {other}"
    assert read(guard, f"{mail} {other}", "s2") == f"{mail} {MAIL}"
    assert read(guard, mail, "s3") == mail
    assert read(guarded(), mail, "s1") == mail  # nor does another process


def test_without_a_session_the_call_is_the_scope() -> None:
    guard = guarded()
    (mail,) = re.findall(PATTERN, put(guard, MAIL, None, call_id="c1"))
    assert read(guard, mail, None, call_id="c1") == MAIL
    assert read(guard, mail, None, call_id="c2") == mail
    assert read(guard, mail, "c1") == mail
    assert read(guard, mail, "call:c1") == mail
    # Where nobody could say which reply is whose, nothing is put away.
    assert put(guard, MAIL, None) == MAIL


def test_a_model_cannot_make_up_a_word() -> None:
    guard = guarded()
    put(guard, PROMPT)
    choice = random.Random(3)
    for _ in range(200):
        word = f"[EMAIL_{''.join(choice.choice('bcdfghjkmnpqrstvwxz') for _ in range(12))}]"
        assert read(guard, f"so {word}.") == f"so {word}."


def test_what_the_caller_knows_is_not_taken_out_of_the_answer() -> None:
    guard = guarded(types=("credit_card",))
    put(guard, f"my card is {CARD}")
    other = luhn("5", 16)
    assert read(guard, f"yours is {CARD}, not {other}") == f"yours is {CARD}, not [REDACTED:credit_card]"


@pytest.mark.parametrize(("tool", "restored"), [("send_mail", True), ("http_post", False), (None, False)])
def test_tools_get_values_only_where_they_may(tool: str | None, restored: bool) -> None:
    guard = guarded(restore_tools=("send_*",))
    (mail,) = re.findall(PATTERN, put(guard, MAIL))
    context_ = ToolContext(name=tool) if tool else None
    arguments = json.dumps({"to": mail})
    told = put(guard, arguments, stage=Stage.TOOL_CALL, tool=context_)
    assert json.loads(told)["to"] == (MAIL if restored else mail)


def test_arguments_stay_json() -> None:
    vault = Vault(restore_tools=("*",))
    guard = EmbeddedGuard(vault=vault)
    word = vault.drawer("session:s1").put("email", '"quoted \\ name"@example.org')
    told = put(guard, json.dumps({"to": word}), stage=Stage.TOOL_CALL, tool=ToolContext(name="mail"))
    assert json.loads(told)["to"] == '"quoted \\ name"@example.org'
    number = luhn("4", 16)
    sent = put(guard, f'{{"card": {number}}}', stage=Stage.TOOL_CALL, to_model=True, tool=ToolContext(name="pay"))
    assert re.fullmatch(PATTERN, json.loads(sent)["card"])


@pytest.mark.parametrize("mode", [Mode.MONITOR, Mode.ALERT])
def test_where_nothing_is_edited_nothing_is_put_away(mode: Mode) -> None:
    vault = Vault()
    guard = EmbeddedGuard(vault=vault)
    assert "[EMAIL_" not in put(guard, PROMPT, mode=mode)
    assert len(vault.drawer("session:s1")) == 0


def test_bounds() -> None:
    vault = Vault(max_values=2, max_sessions=2, ttl=60)
    drawer = vault.drawer("a")
    words = [drawer.put("email", f"{name}@example.org") for name in "xyz"]
    assert [drawer.get(str(word)) for word in words] == [None, "y@example.org", "z@example.org"]
    assert (len(drawer), drawer.holds("x@example.org")) == (2, False)
    assert drawer.put("email", "x" * 1_000) is None
    vault.drawer("b")
    vault.drawer("c")
    assert vault.drawer("a") is not drawer


def test_a_session_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("highflame_middleware.sessions.vault.monotonic", lambda: now[0])
    guard = guarded(ttl=10.0)
    (mail,) = re.findall(PATTERN, put(guard, MAIL))
    now[0] = 109.0
    assert read(guard, mail) == MAIL
    now[0] = 120.0
    assert read(guard, mail) == mail


def test_it_is_not_shown_and_not_copied() -> None:
    guard = guarded()
    sent = put(guard, PROMPT)
    vault: Any = guard._vault
    verdict = guard.evaluate(asked(Stage.RESPONSE, sent))
    assert MAIL in str(verdict.redacted_content)
    for shown in (
        repr(vault),
        repr(vault.drawer("session:s1")),
        repr(guard),
        repr(verdict),
        repr(verdict.redaction_entries),
    ):
        assert MAIL not in shown
    assert MAIL.encode() not in pickle.dumps(BlockedError(verdict, Stage.RESPONSE))
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(vault)
    vault.forget("s1")
    assert read(guard, sent) == sent


@pytest.mark.parametrize(
    "options", [{"types": "pii"}, {"restore_tools": "send"}, {"max_values": 0}, {"ttl": 0}, {"max_sessions": True}]
)
def test_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Vault(**options)
    with pytest.raises(ConfigError):
        EmbeddedGuard(vault=options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="does not detect"):
        EmbeddedGuard(vault=Vault(types=("emial",)))


# --- through an SDK ----------------------------------------------------------------------------------------------


def echoing(*, stream: bool = False, size: int = 1) -> Respond:
    """A model that says what it was told last, a few characters at a time."""

    def respond(seen: Seen) -> Answer:
        said = "You said: " + seen.json["messages"][-1]["content"]
        if not stream:
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            return json_answer(body)(seen)
        pieces = [said[at : at + size] for at in range(0, len(said), size)]
        chunks = events(*(chunk(piece) for piece in pieces), chunk(finish="stop"))
        return Answer(200, (("content-type", "text/event-stream"),), chunks)

    return respond


@pytest.fixture
def client(provider: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, messages: list[dict[str, str]], *, stream: bool) -> str:
    given: Any = messages
    if not stream:
        return str(client.chat.completions.create(model="m", messages=given).choices[0].message.content)
    chunks = client.chat.completions.create(model="m", messages=given, stream=True)
    return "".join(one.choices[0].delta.content or "" for one in chunks)


@pytest.mark.parametrize("session", ["s1", None])
@pytest.mark.parametrize(("stream", "size"), [(False, 1), (True, 1), (True, 7)])
def test_through_an_sdk(
    provider: Server,
    client: openai.OpenAI,
    caplog: pytest.LogCaptureFixture,
    session: str | None,
    stream: bool,
    size: int,
) -> None:
    provider.respond = echoing(stream=stream, size=size)
    with (
        caplog.at_level(logging.DEBUG, "highflame_middleware"),
        instrument(gateway=None, guard=guarded(), mode="enforce"),
        context(**({"session": session} if session else {})),
    ):
        messages = [{"role": "user", "content": PROMPT}]
        answer = ask(client, messages, stream=stream)
        assert answer == f"You said: {PROMPT}"
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": f"and again to {MAIL}"}]
        assert ask(client, messages, stream=stream) == f"You said: and again to {MAIL}"
    for seen in provider.log:
        assert MAIL.encode() not in seen.body
        assert CARD.encode() not in seen.body
    first, second = (re.findall(PATTERN, seen.body.decode()) for seen in provider.log)
    if session:
        assert {*first} == {*second}
    told = caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    assert MAIL not in told


def test_a_tool_call_in_the_history_goes_to_the_model_and_not_back(provider: Server, client: openai.OpenAI) -> None:
    provider.respond = echoing()
    call = {"id": "t1", "type": "function", "function": {"name": "mail", "arguments": json.dumps({"to": MAIL})}}
    history: Any = [
        {"role": "user", "content": "write to her"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": f"sent to {MAIL}"},
        {"role": "user", "content": "thanks"},
    ]
    with instrument(gateway=None, guard=guarded(restore_tools=("*",)), mode="enforce"), context(session="s1"):
        ask(client, history, stream=False)
        ask(client, [*history, {"role": "user", "content": "again"}], stream=False)
    for seen in provider.log:
        assert MAIL.encode() not in seen.body
        assert len({*re.findall(PATTERN, seen.body.decode())}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_through_an_sdk(provider: Server, client: openai.OpenAI, stream: bool) -> None:
    def respond(seen: Seen) -> Answer:
        (word,) = re.findall(PATTERN, seen.json["messages"][-1]["content"])
        calls = [
            {
                "index": at,
                "id": f"t{at}",
                "type": "function",
                "function": {"name": name, "arguments": f'{{"to": "{word}"}}'},
            }
            for at, name in enumerate(("send_mail", "http_post"))
        ]
        if stream:
            pieces = []
            for one in calls:
                pieces.append(chunk(tool_calls=[{**one, "function": {**one["function"], "arguments": ""}}]))
                for letter in one["function"]["arguments"]:
                    pieces.append(chunk(tool_calls=[{"index": one["index"], "function": {"arguments": letter}}]))
            chunks = events(*pieces, chunk(finish="tool_calls"))
            return Answer(200, (("content-type", "text/event-stream"),), chunks)
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return json_answer(body)(seen)

    provider.respond = respond
    said: dict[int, str] = {0: "", 1: ""}
    with instrument(gateway=None, guard=guarded(restore_tools=("send_*",)), mode="enforce"):
        given: Any = {"model": "m", "messages": [{"role": "user", "content": f"to {MAIL}"}]}
        if stream:
            for one in client.chat.completions.create(**given, stream=True):
                for call in one.choices[0].delta.tool_calls or ():
                    said[call.index] += (call.function and call.function.arguments) or ""
        else:
            for at, call in enumerate(client.chat.completions.create(**given).choices[0].message.tool_calls or ()):
                said[at] = call.function.arguments  # type: ignore[union-attr]
    assert json.loads(said[0]) == {"to": MAIL}
    assert re.fullmatch(PATTERN, json.loads(said[1])["to"])


@pytest.mark.parametrize("mode", ["enforce", "modify"])
def test_a_prompt_that_has_left_already(provider: Server, client: openai.OpenAI, mode: str) -> None:
    """Beside the call nothing can be edited any more: a value is stopped, or passes, as the mode says."""
    provider.respond = echoing()
    with instrument(gateway=None, guard=guarded(), mode=mode, guard_timing="parallel"):
        if mode == "enforce":
            with pytest.raises(BlockedError):
                ask(client, [{"role": "user", "content": MAIL}], stream=False)
        else:
            assert ask(client, [{"role": "user", "content": MAIL}], stream=False).endswith(MAIL)


def test_another_session_reads_the_word(provider: Server, client: openai.OpenAI) -> None:
    provider.respond = echoing()
    with instrument(gateway=None, guard=guarded(), mode="enforce"):
        with context(session="s1"):
            ask(client, [{"role": "user", "content": MAIL}], stream=False)
        (word,) = re.findall(PATTERN, provider.log[0].body.decode())
        with context(session="s2"):
            assert ask(client, [{"role": "user", "content": f"who is {word}"}], stream=False).endswith(word)
