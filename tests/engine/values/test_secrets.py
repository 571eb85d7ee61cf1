"""Credentials: every form is found in full where it stands, and what only resembles one is left alone."""

from __future__ import annotations

import json
import random
import re

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.kinds import GROUPS
from highflame_middleware.engine.values.formats import FORMATS, Format
from highflame_middleware.engine.values.secrets import find
from highflame_middleware.types import GuardRequest, Stage
from tests.engine.drawing import draw
from tests.engine.samples import ALNUM, BASE64, DIGITS, HEX, SECRETS, UUID, drawn, pem, types_in

EMBEDDED = EmbeddedGuard(redact=("secrets",))
SAMPLES = [(type_, *(one if isinstance(one, tuple) else (one, one))) for type_, one in SECRETS.items()]


def redacted(text: str, stage: Stage = Stage.RESPONSE) -> str:
    return EMBEDDED.evaluate(GuardRequest.at(stage, text)).redacted_content or text


def test_there_is_a_sample_of_every_type() -> None:
    assert set(SECRETS) == GROUPS["secrets"]


@pytest.mark.parametrize(("type_", "text", "value"), SAMPLES, ids=[type_ for type_, _, _ in SAMPLES])
def test_a_credential_is_found_in_full(type_: str, text: str, value: str) -> None:
    hidden = text.replace(value, f"[REDACTED:{type_}]")
    for before, after in (
        ("", ""),
        ("use ", " now"),
        ("(", ")"),
        ("x\n", "\ny"),
        ("`", "`"),
        ("密", "。"),
        ("'", "',"),
    ):
        assert redacted(before + text + after) == before + hidden + after


ROWS = [(literal, form) for form in FORMATS for literal in form.literals.split()]


@pytest.mark.parametrize(("literal", "form"), ROWS, ids=[f"{form.type} {literal}" for literal, form in ROWS])
def test_whatever_a_row_describes_is_found(literal: str, form: Format) -> None:
    choice, pattern = random.Random(literal), re.compile(form.pattern, re.ASCII)
    characters, least, _ = form.before or ("", 0, 0)
    for _ in range(3_000):
        body = literal + draw(form.pattern, choice)[len(literal) :]
        ahead = "".join(choice.choice(characters) for _ in range(least))
        matched = pattern.match(f"{body} !")
        if matched and (not ahead or ahead[0].isalnum()):
            value = matched.group(1) if matched.lastindex else ahead + matched.group()
            if form.plausible is None or form.plausible(value):
                break
    else:
        pytest.fail("no text could be drawn")
    text = f"see {ahead}{body} !"
    assert any(one.type == form.type and value in text[one.start : one.end] for one in find(text))


@pytest.mark.parametrize(("type_", "text", "value"), SAMPLES, ids=[type_ for type_, _, _ in SAMPLES])
def test_json_arguments_stay_json(type_: str, text: str, value: str) -> None:
    for arguments in (
        {"command": f'echo "{text}" > f\n', "n": 1},
        {"notes": ["a", f"first\n{text}\tlast", {"k": f"{text}\\"}]},
        {"nested": json.dumps({"inner": f"see {text}!", "next": "certificateChainPathOfTheServer"})},
    ):
        content = json.dumps(arguments)
        after = redacted(content, Stage.TOOL_CALL)
        assert json.loads(after)
        assert value not in after
        assert json.dumps(value)[1:-1] not in after
        assert f"[REDACTED:{type_}]" in after


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password is hunter" + "22!x", "hunter22!x"),
        ("the password was: hunter" + "22", "hunter22"),
        ("my password is `hunter" + "22`.", "hunter22"),
        ("passwd = 'p@ss,w0rd(1)'", "p@ss,w0rd(1)"),
        ("PASSWORD: S3cure.Pass:word", "S3cure.Pass:word"),
        ("SMTP_PASS=" + drawn(12), drawn(12)),
        ("pwd=" + "Summ3r!", "Summ3r!"),
        ('config["password"] = "' + drawn(10) + '"', drawn(10)),
        ("<password>" + drawn(10) + "</password>", drawn(10)),
        ("mysql --password " + drawn(10) + " -h db", drawn(10)),
        ("run --api-key " + drawn(24), drawn(24)),
        ("curl -u admin:" + drawn(10) + " https://x.example", drawn(10)),
        ("password: str = '" + drawn(12) + "'", drawn(12)),
        ("client_secret => " + drawn(24), drawn(24)),
        ("https://api.example.com/v1?token=" + drawn(24) + "&page=2", drawn(24)),
        ("Passwort: " + drawn(10), drawn(10)),
        ("密码是" + drawn(10), drawn(10)),
        ("hubspot_api_key = '" + UUID + "'", UUID),
        ("{'Authorization': 'Bearer " + drawn(30) + "'}", drawn(30)),
        ("AKIA" + drawn(16, ALNUM[26:]) + " / " + drawn(40, BASE64), drawn(40, BASE64)),
    ],
)
def test_a_value_is_told_by_its_name(text: str, value: str) -> None:
    after = redacted(text)
    assert value not in after
    assert "[REDACTED:" in after


@pytest.mark.parametrize(
    "text",
    [
        "The password is incorrect, and the token was expired.",
        "password: required, token: string, secret=None",
        "password = self.password2 or settings.password1",
        "token = get_token2(user_id1)",
        "api_key=os.environ['OPENAI_API_KEY2']",
        "password=${DB_PASSWORD1} token=$TOKEN2 secret: {{ secret1 }} passwd=%PASS1%",
        "PASSWORD=<your-password-1> SECRET_KEY=REPLACE_ME_123 api_key='your_api_key_123456'",
        "password: xxxxxxxx1, token: ****************1",
        "max_tokens=4096, completion_tokens: 123456789012, tokens: 12",
        "token_url = https://auth.example.com/oauth2/token1",
        "the token is 2048-bit and the password is base64",
        "tokenizer: bert-base-uncased-v2, model gpt-4-turbo-2024-04-09",
        "secret: arn:aws:secretsmanager:us-east-1:123456789012:secret:app",
        "password_file=/run/secrets/db_password1",
        "git checkout " + drawn(40, HEX),
        "sha256:" + drawn(64, HEX) + "  file.tar.gz",
        "integrity sha512-" + drawn(86, BASE64) + "==",
        "request_id=" + UUID,
        "<img src='data:image/png;base64," + drawn(400, BASE64) + "'>",
        "https://example.com/p/" + drawn(22) + "?utm_source=mail",
        "postgres://user:password@localhost/db and http://user:pass@host and ftp://u:$PASS@h",
        "http://localhost:8080/@scope/package@1.2.3",
        "class='sk-toggleable__label sk-fading-circle-12-delay' sk-learn-contrib-package-name-long",
        "-----BEGIN CERTIFICATE-----\n" + drawn(64, BASE64) + "\n-----END CERTIFICATE-----",
        "A file starts with -----BEGIN PRIVATE KEY----- and then the key follows in base64.",
        "re_compile_patterns_with_underscores_1 key-value-store key-0123 SKU12 hf_transfer r8_g8",
        "Bearer of good news, authorization: basic access",
        "0x" + drawn(40, HEX),
        "ghp_short and sk-short1 and AKIA1234",
        "risk-assessment task-" + drawn(20),
    ],
)
def test_what_only_resembles_a_credential_is_left_alone(text: str) -> None:
    assert types_in(text, EMBEDDED) == {}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\\n", "\\\\n", "\n    ", "\n> ", ' ", "', '"\n  "'])
@pytest.mark.parametrize("label", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "PGP "])
def test_a_private_key_is_found_across_lines(newline: str, label: str) -> None:
    key = pem(newline=newline, label=label).replace("PGP PRIVATE KEY-", "PGP PRIVATE KEY BLOCK-")
    assert redacted(f"key:\n{key}\nbye") == "key:\n[REDACTED:private_key]\nbye"


def test_a_private_key_without_an_end_is_taken_out_as_far_as_it_goes() -> None:
    assert redacted(pem(end=False) + "\nand so on") == "[REDACTED:private_key]\nand so on"


def test_headers_belong_to_a_private_key() -> None:
    first, rest = pem().split("\n", 1)
    key = f"{first}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{drawn(32, HEX)}\n\n{rest}"
    assert redacted(key) == "[REDACTED:private_key]"


def test_the_next_string_of_an_object_is_not_taken_for_the_rest_of_a_key() -> None:
    content = json.dumps({"key": pem(end=False), "certificateChainPath": "x", "n": 2})
    after = json.loads(redacted(content, Stage.TOOL_CALL))
    assert after == {"key": "[REDACTED:private_key]", "certificateChainPath": "x", "n": 2}


def test_a_key_that_goes_on_and_on_is_taken_out_to_its_end() -> None:
    assert redacted("a sk-ant-" + drawn(50) * 1_000 + " b") == "a [REDACTED:anthropic_key] b"
    assert redacted("password=" + drawn(50) * 1_000 + " b") == "password=[REDACTED:password] b"


def test_two_findings_in_one_place_become_the_better_named_one() -> None:
    token = SECRETS["github_token"]
    assert isinstance(token, str)
    assert redacted(f"password={token}; https://u:{token}@h.example") == (
        "password=[REDACTED:github_token]; https://u:[REDACTED:github_token]@h.example"
    )


@pytest.mark.parametrize("escape", ["\\n", "\\r\\n", "\\t", "\\u003f", "\\u000a", "\\\\", "\\/"])
def test_a_credential_may_follow_an_escape(escape: str) -> None:
    token = str(SECRETS["github_token"])
    assert redacted(f'{{"a": "x{escape}{token}"}}') == f'{{"a": "x{escape}[REDACTED:github_token]"}}'


def test_the_letter_of_an_escape_begins_no_credential() -> None:
    text = '{"a": "x\\npm_' + drawn(36) + '"}'
    assert json.loads(redacted(text, Stage.TOOL_CALL))


def test_digits_are_no_password_name_for_a_telephone() -> None:
    assert "password" not in types_in("pass " + drawn(12, DIGITS), EMBEDDED)
