"""The settings: defaults that are safe, values that cannot be meant refused in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pyledger.settings import PREFIX, BadSetting, Settings, default_data_dir, is_loopback


def load(**variables: str) -> Settings:
    return Settings.load({PREFIX + name: value for name, value in variables.items()}, user_id=0)


def test_the_defaults_are_private_and_ask_for_keys() -> None:
    settings = load()
    assert settings.loopback
    assert settings.embedded
    assert not settings.dev
    assert not settings.tls
    assert settings.url == "http://127.0.0.1:8080"


def test_the_environment_is_read_and_the_command_line_wins() -> None:
    variables = {"PYLEDGER_PORT": "9000", "PYLEDGER_DEV": "yes", "PYLEDGER_QUEUE_ROWS_MAX": "100_000", "PATH": "/bin"}
    settings = Settings.load(variables, {"port": 9001, "host": None}, user_id=0)
    assert (settings.port, settings.dev, settings.queue_rows_max) == (9001, True, 100_000)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "http", "'http' is not a whole number"),
        ("PORT", "-1", "'-1' is not a whole number"),
        ("PORT", "65536", "65536 is not within 0..65535"),
        ("PORT", "", "'' is not a whole number"),
        ("PORT", "٣", "is not a whole number"),
        ("AHEAD_ROWS_MIN", "0", "0 is not within 1..8190"),
        ("AHEAD_ROWS_MIN", "8_191", "8191 is not within 1..8190"),
        ("BODY_BYTES_MAX", "1e6", "'1e6' is not a whole number"),
        ("DEV", "maybe", "'maybe' is neither true nor false"),
        ("LOG_LEVEL", "loud", "'loud' is none of debug, info, warning, error"),
        ("DATABASE_URL", "mysql://x", "must begin with postgresql://"),
        ("HOST", "", "must not be empty"),
        ("HOST", "::\n", "PYLEDGER_HOST=:: would carry keys unencrypted"),
        ("HOST", "a\nb", "a value is one line of text"),
        ("POTR", "1", "PYLEDGER_POTR is not a setting; did you mean PYLEDGER_PORT?"),
        ("TLSCERT", "x", "did you mean PYLEDGER_TLS_CERT?"),
        ("TLS_CERT", "/etc/passwd", "PYLEDGER_TLS_CERT and PYLEDGER_TLS_KEY go together"),
        ("OWNER_URL", "postgresql://x", "is of no use without PYLEDGER_DATABASE_URL"),
        ("HOST", "0.0.0.0", "would carry keys unencrypted"),
        ("HOST", "::", "would carry keys unencrypted"),
        ("HOST", "10.0.0.1", "would carry keys unencrypted"),
        ("HOST", "ledger.example", "would carry keys unencrypted"),
        ("FEED_READERS_MAX", "4096", "lets readers of the feed take all of PYLEDGER_CONNECTIONS_MAX=4096"),
        ("CONNECTIONS_MAX", "128", "PYLEDGER_FEED_READERS_MAX=128 lets readers of the feed take all"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_in_one_line(name: str, value: str, says: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load(**{name: value})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"PYLEDGER_TLS_CERT: cannot read .*missing\.pem"):
        load(TLS_CERT=str(tmp_path / "missing.pem"), TLS_KEY=str(tmp_path / "key.pem"))


def test_beyond_loopback_takes_tls_or_says_who_ends_it(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    files = {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}
    assert load(HOST="0.0.0.0", **files).url == "https://127.0.0.1:8080"
    assert load(HOST="0.0.0.0", BEHIND_TLS_PROXY="1").url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("more", [{}, {"BEHIND_TLS_PROXY": "1"}])
def test_dev_is_for_loopback_alone(more: dict[str, str]) -> None:
    assert load(DEV="1", HOST="::1").dev
    with pytest.raises(BadSetting, match="only on loopback"):
        load(DEV="1", HOST="0.0.0.0", **more)


def test_secrets_are_not_shown() -> None:
    settings = load(DATABASE_URL="postgresql://user:secret@host/database", OWNER_URL="postgresql://owner:secret@host/d")
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings.rows())


def test_every_setting_has_a_reason_and_every_number_its_bounds() -> None:
    for field in dataclasses.fields(Settings):
        assert len(field.metadata["reason"]) > 10, field.name
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name


def test_other_variables_of_ours_are_let_be() -> None:
    assert load(URL="http://x", KEY="pk_x", TEST_SEED="1").port == 8080


def test_where_the_data_is() -> None:
    assert default_data_dir({}, 0) == Path("/var/lib/pyledger")
    assert default_data_dir({"HOME": "/home/me"}, 1000) == Path("/home/me/.local/share/pyledger")
    assert default_data_dir({"HOME": "/home/me", "XDG_DATA_HOME": "/data"}, 1000) == Path("/data/pyledger")
    assert default_data_dir({"HOME": "/home/me", "XDG_DATA_HOME": "relative"}, 1000).is_relative_to("/home/me")
    with pytest.raises(BadSetting, match="PYLEDGER_DATA_DIR"):
        default_data_dir({}, 1000)


@pytest.mark.parametrize(
    ("host", "answer"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer
