"""Settings: argument over environment over file over default; what cannot be used is a clear ConfigError."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from highflame_middleware import ConfigError, EmbeddedGuard, Mode, Secret, Settings
from highflame_middleware.config import GATEWAYS, UNSET

URL = "http://gw.test/v1"


def load(environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return Settings.load(environ=environ or {}, **arguments)


def plain(value: Any) -> Any:
    """A setting's value with its secrets revealed, to compare."""
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.reveal() if isinstance(value, Secret) else value


# ------------------------------------------------------------------------------------------------- precedence

# Each setting that all three sources can give: its environment variable, a value for each source as it is
# written there, what has to go with it, and what reading makes of the values.
SOURCES: dict[str, tuple[str, tuple[Any, str, Any], dict[str, Any]]] = {
    "gateway": ("GATEWAY", ("highflame", "javelin", "highflame-v2"), {"api_key": "k"}),
    "base_url": ("GATEWAY_URL", ("http://a/v1", "http://e/v1", "http://f/v1"), {"gateway": "openai-compatible"}),
    "api_key": ("API_KEY", ("key-a", "key-e", "key-f"), {}),
    "guard": ("GUARD", (None, "off", "embedded"), {}),
    "mode": ("MODE", ("monitor", "alert", "modify"), {}),
    "fail_open": ("FAIL_OPEN", (False, "true", False), {}),
    "deadline": ("DEADLINE", (1.5, "2.5", 3), {}),
    "route": ("ROUTE", ("ra", "re", "rf"), {}),
    "virtual_api_key": ("VIRTUALAPIKEY", ("va", "ve", "vf"), {}),
    "account_id": ("ACCOUNT_ID", ("aa", "ae", "af"), {}),
    "project_id": ("PROJECT_ID", ("pa", "pe", "pf"), {}),
    "token_url": ("TOKEN_URL", ("http://a", "http://e", "http://f"), {}),
    "identity_url": ("IDENTITY_URL", ("http://a", "http://e", "http://f"), {}),
    "shield_key": ("SHIELD_KEY", ("sa", "se", "sf"), {}),
    "shield_url": ("BASE_URL", ("http://a", "http://e", "http://f"), {}),
    "on_unsupported": ("ON_UNSUPPORTED", ("refuse", "direct", "translate"), {}),
    "policies": ("POLICIES", (("a",), "b.cedar", ("f",)), {}),
    "on_blocked": ("ON_BLOCKED", ("reply", "raise", "reply"), {}),
}
READ: dict[Any, Any] = {"b.cedar": ("b.cedar",), "off": None, "true": True, "2.5": 2.5}
# Settings that no variable gives: from the arguments or the file.
WITHOUT_VARIABLE: dict[str, tuple[Any, Any]] = {
    "stream": ("sentence", "passthrough"),
    "guard_timing": ("parallel", "before"),
    "only": (("openai",), ("openai",)),
    "exclude": (("a",), ("f",)),
    "on_unproven": ("warn", {"openai": "refuse"}),
    "reroute_hosts": (("a",), ("f",)),
    "gateway_keys": (("ka",), ("kf",)),
    "default_provider": ("pa", "pf"),
    "providers": ({"a": {}}, {"f": {}}),
    "headers": ({"x-a": "a"}, {"x-f": "f"}),
    "carries": (("a",), ("f",)),
    "lacks": (("a",), ("f",)),
    "guard_options": ({"max_chars": 1}, {"max_chars": 2}),
}
ONLY_ARGUMENTS = {"on_decision"}


def toml(table: str, **values: Any) -> str:
    def written(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(written, value))}]"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key} = {written(item)}' for key, item in value.items())}}}"
        return f'"{value}"' if isinstance(value, str) else str(value)

    return "\n".join([table, *(f"{name} = {written(value)}" for name, value in values.items())])


def test_every_setting_is_in_the_tables() -> None:
    assert set(SOURCES) | set(WITHOUT_VARIABLE) | ONLY_ARGUMENTS == {
        item.name for item in dataclasses.fields(Settings)
    }


@pytest.mark.parametrize("name", SOURCES)
def test_argument_over_environment_over_file_over_default(name: str) -> None:
    variable, (argument, environment, written), others = SOURCES[name]
    default = getattr(
        Settings(**{key: value for key, value in others.items() if name not in ("gateway", "base_url")}), name
    )
    there = {key: value for key, value in others.items() if key != name}

    def found(environ: dict[str, str], **given: Any) -> Any:
        return plain(getattr(load(environ, **there, **given), name))

    set_by_environment = {f"HIGHFLAME_{variable}": environment}
    Path("highflame.toml").write_text(toml("", **{name: written}))
    if name == "api_key":
        default = None
    assert found({}) == written
    assert found(set_by_environment) == READ.get(environment, environment)
    assert found(set_by_environment, **{name: argument}) == argument
    assert found(set_by_environment, **{name: UNSET}) == READ.get(environment, environment)
    Path("highflame.toml").unlink()
    if name != "base_url":
        there.pop("api_key", None)
        assert found({}) == default


@pytest.mark.parametrize("name", WITHOUT_VARIABLE)
def test_argument_over_file_over_default(name: str) -> None:
    argument, written = WITHOUT_VARIABLE[name]
    Path("highflame.toml").write_text(toml("", **{name: written}))
    assert plain(getattr(load(), name)) == written
    assert plain(getattr(load(**{name: argument}), name)) == argument
    Path("highflame.toml").unlink()
    assert plain(getattr(load(), name)) == plain(getattr(Settings(), name))


def test_the_defaults() -> None:
    settings = Settings()
    assert (settings.gateway, settings.guard, settings.mode) == (None, "embedded", Mode.ENFORCE)
    assert (settings.fail_open, settings.deadline, settings.stream) == (False, 2.0, "buffer")
    assert settings.gateway_url is None
    assert load() == settings


# ------------------------------------------------------------------------------------------------- off


OFF_BY_ARGUMENT = [
    "gateway",
    "guard",
    "api_key",
    "route",
    "virtual_api_key",
    "account_id",
    "project_id",
    "shield_key",
    "shield_url",
]


@pytest.mark.parametrize("name", OFF_BY_ARGUMENT)
def test_none_turns_off_what_environment_and_file_say(name: str) -> None:
    variable, (_, environment, written), _ = SOURCES[name]
    Path("highflame.toml").write_text(toml("", **{name: written}))
    environ = {f"HIGHFLAME_{variable}": environment, "HIGHFLAME_API_KEY": "k"}
    assert getattr(load(environ, **{name: None}), name) is None


@pytest.mark.parametrize("word", ["off", "none", "OFF", " None "])
@pytest.mark.parametrize("name", OFF_BY_ARGUMENT)
def test_off_in_the_environment_is_off_whatever_the_file_says(name: str, word: str) -> None:
    variable, (_, _, written), _ = SOURCES[name]
    Path("highflame.toml").write_text(toml("", **{name: written}))
    assert getattr(load({f"HIGHFLAME_{variable}": word}), name) is None


@pytest.mark.parametrize("name", ["gateway", "guard", "api_key", "route"])
def test_off_in_a_file(name: str) -> None:
    """TOML has no null."""
    Path("highflame.toml").write_text(toml("", **{name: "off"}))
    assert getattr(load(), name) is None


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_variable_is_one_that_is_not_set(name: str, blank: str) -> None:
    """Compose files and shells write them: none of them may turn the guard off."""
    assert load({f"HIGHFLAME_{SOURCES[name][0]}": blank}) == Settings()


REQUIRED = ["mode", "fail_open", "deadline", "stream", "reroute_hosts", "providers", "gateway_keys"]


@pytest.mark.parametrize("name", REQUIRED)
def test_what_cannot_be_off(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=None is not possible: "):
        Settings(**{name: None})


@pytest.mark.parametrize("variable", ["MODE", "DEADLINE"])
def test_what_cannot_be_off_is_not_off_by_a_word_either(variable: str) -> None:
    with pytest.raises(ConfigError, match="off"):
        load({f"HIGHFLAME_{variable}": "off"})


# ------------------------------------------------------------------------------------------------- bad values


class Untruthful:
    """Neither a guard nor a gateway."""


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown answer to what is unsupported": (
        {"on_unsupported": "drop"},
        "use one of direct, translate, refuse",
    ),
    "an unknown answer to a refusal": ({"on_blocked": "hide"}, "use one of raise, reply"),
    "headers that are no table": ({"headers": ["x-a"]}, "must be a table"),
    "a header that is none": ({"headers": {"x a": "b"}}, "'x a' is no header"),
    "a header of the connection": ({"headers": {"Content-Length": "1"}}, "'Content-Length' is no header"),
    "a header that breaks out": ({"headers": {"x-a": "b\r\nx-c: d"}}, "no HTTP header may carry"),
    "an empty header": ({"headers": {"x-a": " "}}, "not empty"),
    "formats in one string": ({"carries": "anthropic"}, "give a list of formats"),
    "formats that are lacking, in one string": ({"lacks": "anthropic"}, "give a list of formats"),
    "a Shield without a key": ({"guard": "shield"}, "needs a key: give api_key= or set HIGHFLAME_API_KEY"),
    "an unknown gateway": ({"gateway": "kong"}, r"gateway='kong' is unknown: use one of highflame"),
    "an unknown guard": ({"guard": "best"}, r"guard='best' is unknown: use one of embedded"),
    "a guard that is none": ({"guard": Untruthful()}, "give one of embedded, shield, or a suitable object"),
    "a guard that is a number": ({"guard": 1}, "give one of embedded, shield, or a suitable object"),
    "a gateway that is none": ({"gateway": Untruthful()}, "give one of highflame"),
    "an unknown mode": ({"mode": "watch"}, "use one of enforce, monitor, alert, modify"),
    "a mode in capitals": ({"mode": "MONITOR"}, "use one of enforce"),
    "a mode that is no text": ({"mode": ["enforce"]}, "use one of enforce"),
    "an unknown stream": ({"stream": "word"}, "use one of buffer, sentence, passthrough"),
    "neither true nor false": ({"fail_open": "maybe"}, "neither true nor false"),
    "a number for a truth": ({"fail_open": 1}, "neither true nor false"),
    "a deadline of zero": ({"deadline": 0}, "above 0, at most 600"),
    "a negative deadline": ({"deadline": -1.0}, "above 0, at most 600"),
    "an endless deadline": ({"deadline": float("inf")}, "above 0, at most 600"),
    "no number at all": ({"deadline": float("nan")}, "above 0, at most 600"),
    "a deadline too great": ({"deadline": 601}, "above 0, at most 600"),
    "a deadline beyond floats": ({"deadline": 10**400}, "above 0, at most 600"),
    "a deadline in words": ({"deadline": "two"}, "above 0, at most 600"),
    "a truth for a deadline": ({"deadline": True}, "above 0, at most 600"),
    "a URL without scheme": ({"shield_url": "shield.test"}, "must begin with http:// or https://"),
    "a URL without host": ({"shield_url": "https:///v1"}, "name a host"),
    "another scheme": ({"token_url": "ftp://x"}, "must begin with http:// or https://"),
    "a port out of range": ({"token_url": "http://x:70000"}, "must begin with http"),
    "a broken IPv6 address": ({"token_url": "http://[::1"}, "must begin with http"),
    "credentials in a URL": ({"identity_url": "https://me:secret@x"}, "without credentials"),
    "a user in a URL": ({"identity_url": "https://@x"}, "without credentials"),
    "a query": ({"identity_url": "https://x/?a=b"}, "query or fragment"),
    "an empty query": ({"identity_url": "https://x?"}, "query or fragment"),
    "a fragment": ({"identity_url": "https://x#"}, "query or fragment"),
    "a URL with a line end": ({"shield_url": "https://x/\r\nv1"}, "must begin with"),
    "a URL with a space": ({"shield_url": "https://x y/v1"}, "must begin with"),
    "an empty key": ({"api_key": " "}, "a string that is not empty"),
    "a key that is no text": ({"api_key": b"k"}, "a string that is not empty"),
    "a key with a line end": ({"api_key": "a\r\nb: c"}, "no HTTP header may carry"),
    "a key beyond ASCII": ({"api_key": "schlüssel"}, "no HTTP header may carry"),
    "a key with DEL": ({"virtual_api_key": "a\x7fb"}, "no HTTP header may carry"),
    "a route with a line end": ({"route": "a\nb"}, "printable ASCII"),
    "an empty route": ({"route": ""}, "printable ASCII"),
    "a blank route": ({"route": " "}, "printable ASCII"),
    "an account that is a number": ({"account_id": 7}, "printable ASCII"),
    "hosts as one string": ({"reroute_hosts": "a.test"}, "give a list of 'host' or 'host:port'"),
    "hosts that are no list": ({"reroute_hosts": 5}, "give a list of 'host' or 'host:port'"),
    "a host that is a URL": ({"reroute_hosts": ["http://a.test/v1"]}, "give a list of 'host' or 'host:port'"),
    "a host that is empty": ({"reroute_hosts": ["a.test", " "]}, "give a list of 'host' or 'host:port'"),
    "keys as one string": ({"gateway_keys": "k"}, "must be a list of keys"),
    "keys as one secret": ({"gateway_keys": Secret("k")}, "must be a list of keys"),
    "keys that are no list": ({"gateway_keys": 5}, "must be a list of keys"),
    "an empty key among the keys": ({"gateway_keys": ["k", ""]}, "a string that is not empty"),
    "providers as a list": ({"providers": ["openai"]}, "a table of providers by name"),
}


@pytest.mark.parametrize("gateway", ["portkey", "openai-compatible"])
def test_the_key_of_another_gateway_is_never_shown_to_shield(gateway: str) -> None:
    given = {"gateway": gateway, "api_key": "their-key", "base_url": "http://gateway.test/v1"}
    assert load(**given).key_for_shield is None
    assert load(**given, shield_key="ours").key_for_shield == Secret("ours")
    with pytest.raises(ConfigError, match="needs a key: give shield_key= or set HIGHFLAME_SHIELD_KEY"):
        load(**given, guard="shield")


def test_a_door_without_a_gateway_does_not_take_the_gateways_key_for_shields() -> None:
    """The middleware, say, whose guard is Shield, in a process whose calls go through another's gateway."""
    environ = {"HIGHFLAME_GATEWAY": "portkey", "HIGHFLAME_API_KEY": "theirs"}
    assert load(environ, gateway=None).key_for_shield is None
    assert load(environ, gateway=None, api_key="ours").key_for_shield == Secret("ours")


@pytest.mark.parametrize("gateway", ["javelin", "highflame-v2"])
def test_a_door_without_a_gateway_does_not_take_the_gateways_url_for_shields(gateway: str) -> None:
    environ = {"HIGHFLAME_GATEWAY": gateway, "HIGHFLAME_API_KEY": "k", "HIGHFLAME_BASE_URL": "http://gateway.test"}
    assert load(environ, gateway=None).shield_url is None
    assert load(environ, gateway=None, shield_url="http://s.test").shield_url == "http://s.test"
    assert load({**environ, "HIGHFLAME_GATEWAY": ""}, gateway=None).shield_url == "http://gateway.test"


@pytest.mark.parametrize("gateway", [None, "highflame", "javelin"])
def test_a_key_of_highflames_is_shields_too(gateway: str | None) -> None:
    assert load(gateway=gateway, api_key="k").key_for_shield == Secret("k")
    assert load(gateway=gateway, api_key="k", shield_key="s").key_for_shield == Secret("s")


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_cannot_be_used(name: str) -> None:
    arguments, message = BAD[name]
    (setting,) = arguments
    with pytest.raises(ConfigError, match=message) as caught:
        load(**arguments)
    assert setting in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        Settings().with_changes(**arguments)


@pytest.mark.parametrize("secret", ["a\r\nb", "schlüssel"])
def test_a_message_never_quotes_a_secret(secret: str) -> None:
    for arguments in ({"api_key": secret}, {"virtual_api_key": secret}, {"gateway_keys": [secret]}):
        with pytest.raises(ConfigError) as caught:
            load(**arguments)
        assert secret not in str(caught.value)


BAD_VARIABLES = {
    "MODE": ("watch", "use one of enforce"),
    "FAIL_OPEN": ("perhaps", "neither true nor false"),
    "DEADLINE": ("soon", "above 0, at most 600"),
    "GATEWAY": ("kong", "use one of highflame"),
    "ON_UNSUPPORTED": ("drop", "use one of direct, translate, refuse"),
    "ON_BLOCKED": ("hide", "use one of raise, reply"),
    "GUARD": ("shield", "needs a key"),
    "GATEWAY_URL": ("gw.test", "must begin with http"),
    "API_KEY": ("schlüssel", "no HTTP header may carry"),
    "ROUTE": ("rüte", "printable ASCII"),
}


@pytest.mark.parametrize("variable", BAD_VARIABLES)
def test_a_variable_that_cannot_be_used(variable: str) -> None:
    value, message = BAD_VARIABLES[variable]
    with pytest.raises(ConfigError, match=message):
        load({f"HIGHFLAME_{variable}": value})


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("gatway", "did you mean 'gateway'"),
        ("failopen", "did you mean 'fail_open'"),
        ("xyz", "known are gateway, "),
    ],
)
def test_an_unknown_argument(given: str, hint: str) -> None:
    for use in (load, Settings().with_changes):
        with pytest.raises(ConfigError, match=f"'{given}' is an unknown argument: {hint}"):
            use(**{given: 1})


GOOD: dict[str, tuple[dict[str, Any], Any]] = {
    "a mode as a word": ({"mode": "alert"}, Mode.ALERT),
    "truth in words": ({"fail_open": "Yes"}, True),
    "untruth in words": ({"fail_open": "off"}, False),
    "a deadline in digits": ({"deadline": "0.25"}, 0.25),
    "the longest deadline": ({"deadline": 600}, 600.0),
    "a URL's last slash": ({"shield_url": "https://x/v1/"}, "https://x/v1"),
    "a URL in blanks": ({"shield_url": " https://x "}, "https://x"),
    "an IPv6 address": ({"shield_url": "http://[::1]:8080/v1"}, "http://[::1]:8080/v1"),
    "hosts in capitals": ({"reroute_hosts": ["LLM.test:8000", " b "]}, ("llm.test:8000", "b")),
    "hosts that can be read once": ({"reroute_hosts": (host for host in ("a", "b"))}, ("a", "b")),
    "keys that can be read once": ({"gateway_keys": (key for key in ("a", "b"))}, ("a", "b")),
    "a route in blanks": ({"route": " r "}, "r"),
    "a key in blanks": ({"api_key": " k "}, "k"),
    "a key that is a secret": ({"api_key": Secret("k")}, "k"),
    "headers in capitals": ({"headers": {"X-Team": " core "}}, {"x-team": "core"}),
    "a header that is a secret": ({"headers": {"x-key": Secret("k")}}, {"x-key": "k"}),
    "formats in capitals": ({"carries": [" Anthropic", "*"]}, ("anthropic", "*")),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_value_that_is_read(name: str) -> None:
    arguments, expected = GOOD[name]
    (setting,) = arguments
    assert plain(getattr(load(**arguments), setting)) == expected


@pytest.mark.parametrize("guard", [EmbeddedGuard(), lambda request: True, "embedded", None])
def test_guards_that_are_accepted(guard: Any) -> None:
    assert load(guard=guard).guard is guard


# ------------------------------------------------------------------------------------------------- files


def test_a_table_of_pyproject() -> None:
    Path("pyproject.toml").write_text('[project]\nname = "x"\n[tool.highflame]\nmode = "alert"\ndeadline = 3\n')
    assert (load().mode, load().deadline) == (Mode.ALERT, 3.0)


def test_highflame_toml_wins_over_pyproject() -> None:
    Path("pyproject.toml").write_text('[tool.highflame]\nmode = "alert"\nroute = "r"\n')
    Path("highflame.toml").write_text('mode = "monitor"\n')
    assert (load().mode, load().route) == (Mode.MONITOR, None)


@pytest.mark.parametrize(
    "content", ["[tool.other]\nx = 1\n", "not toml at all", '[tool.highflame-other]\nmode = "x"\n']
)
def test_a_pyproject_that_says_nothing_of_us_is_left_alone(content: str) -> None:
    Path("pyproject.toml").write_text(content)
    assert load() == Settings()


def test_a_file_that_is_named(tmp_path: Path) -> None:
    Path("highflame.toml").write_text('mode = "monitor"\n')
    mine = tmp_path / "mine.toml"
    mine.write_text('mode = "alert"\nproviders = {local = {base_url = "http://x/v1"}}\n')
    settings = load(file=mine)
    assert (settings.mode, settings.providers) == (Mode.ALERT, {"local": {"base_url": "http://x/v1"}})
    assert load(file=str(mine)) == settings


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"mode = ", "not valid TOML"),
    "not UTF-8": (b'mode = "\xff"', "not valid TOML"),
    "an unknown setting": (b'mod = "alert"', "'mod' is an unknown setting in '.*': did you mean 'mode'"),
    "a value of another type": (b"mode = 5", "use one of enforce"),
    "a bad deadline": (b"deadline = 0", "above 0, at most 600"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    content, message = BAD_FILES[name]
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(file=file)


@pytest.mark.parametrize("file", ["absent.toml", "."])
def test_a_file_that_is_named_must_be_there(file: str) -> None:
    with pytest.raises(ConfigError, match=f"the settings file '{file}' cannot be read: "):
        load(file=file)


@pytest.mark.parametrize("content", ["[[tool.highflame]]\nmode = 'alert'\n", "[tool.highflame.mode]\nx = 1\n"])
def test_a_pyproject_of_another_shape(content: str) -> None:
    Path("pyproject.toml").write_text(content)
    with pytest.raises(ConfigError):
        load()


# ------------------------------------------------------------------------------------------------- as a value


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().mode = Mode.MONITOR  # type: ignore[misc]


def test_secrets_are_in_no_repr() -> None:
    settings = Settings(
        gateway="highflame",
        api_key="key-1",  # type: ignore[arg-type]
        virtual_api_key="key-2",  # type: ignore[arg-type]
        gateway_keys=("key-3",),  # type: ignore[arg-type]
        providers={"p": {"base_url": "http://x", "api_key": "key-4"}},
    )
    assert "key-" not in repr(settings)
    assert "highflame" in repr(settings)


def test_changes_are_validated_and_unset_changes_nothing() -> None:
    settings = Settings(mode="monitor", deadline=1)  # type: ignore[arg-type]
    assert settings.with_changes(mode=UNSET, deadline=UNSET) == settings
    assert settings.with_changes(deadline="0.5").deadline == 0.5
    with pytest.raises(ConfigError, match="needs a key"):
        settings.with_changes(gateway="highflame")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_every_gateway_that_is_listed_works(gateway: str) -> None:
    url = {"base_url": URL} if gateway == "openai-compatible" else {}
    assert load(gateway=gateway, api_key="k", **url).gateway == gateway


def test_the_process_environment_is_read_where_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHFLAME_MODE", "alert")
    assert Settings.load().mode is Mode.ALERT
    assert load().mode is Mode.ENFORCE
