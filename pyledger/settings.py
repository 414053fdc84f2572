"""Every setting of pyledger, in one frozen value: name, default, bounds, unit and reason.

Guards: a setting is read once, at the start, from `PYLEDGER_<NAME>`; a value that cannot be meant, a
name that does not exist, and a combination that would be insecure without anybody noticing are refused
before anything is opened, in one clear line.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "PYLEDGER_"

OTHER_VARIABLES: Final = frozenset({"PYLEDGER_URL", "PYLEDGER_KEY"})
"""Read by the client and the demo; a server that finds them in its environment lets them be."""

TEST_PREFIX: Final = "PYLEDGER_TEST_"
"""Read by the tests alone."""

KIB: Final = 1024
MIB: Final = 1024 * KIB

LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off", ""})


class BadSetting(ValueError):
    """A setting that cannot be meant. `str()` is one clear line; the exit code is 2."""


def default_data_dir(environ: Mapping[str, str], user_id: int) -> Path:
    """Where the embedded PostgreSQL keeps its data unless told: root has /var/lib, others their home."""
    if user_id == 0:
        return Path("/var/lib/pyledger")
    base = environ.get("XDG_DATA_HOME") or ""
    if not os.path.isabs(base):
        home = environ.get("HOME") or ""
        if not os.path.isabs(home):
            raise BadSetting("PYLEDGER_DATA_DIR: neither XDG_DATA_HOME nor HOME says where; name a directory")
        base = os.path.join(home, ".local", "share")
    return Path(base) / "pyledger"


def _setting(default: Any, reason: str, *, low: int = 0, high: int = 0, secret: bool = False) -> Any:
    metadata = {"reason": reason, "low": low, "high": high, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is started with. `Settings.load()` reads the environment; tests name what they need."""

    host: str = _setting("127.0.0.1", "address to listen on; beyond loopback it takes TLS")
    port: int = _setting(8080, "TCP port to listen on; 0 takes a free one", low=0, high=65_535)
    dev: bool = _setting(False, "no keys are needed; on loopback only")
    tls_cert: str = _setting("", "PEM file of the certificate chain; TLS 1.3 when given")
    tls_key: str = _setting("", "PEM file of the certificate's private key")
    behind_tls_proxy: bool = _setting(False, "plain HTTP beyond loopback: something in front of it ends TLS")

    database_url: str = _setting("", "PostgreSQL >= 15 as the writing role; empty: the embedded one", secret=True)
    owner_url: str = _setting("", "the same database as the role that owns the schema, to migrate", secret=True)
    data_dir: Path = _setting(Path(), "directory of the embedded PostgreSQL")
    postgres_bin: str = _setting("", "directory with initdb and postgres; empty: those of the installed wheel")
    wal_mib_max: int = _setting(
        4_096, "WAL of the embedded PostgreSQL, MiB; also never above a tenth of the disk's room", low=64, high=65_536
    )

    shard: int = _setting(0, "which shard this server writes", low=0, high=32_767)
    queue_rows_max: int = _setting(
        65_536, "rows that wait for a batch; beyond it 503: eight batches, tens of ms", low=8_190, high=4_194_304
    )
    ahead_rows_min: int = _setting(
        4_096,
        "rows waiting from which on the next batch is decided and sent while one commits: half a batch",
        low=1,
        high=8_190,
    )
    ledgers_max: int = _setting(10_000, "ledgers in memory; a new one beyond it is refused", low=1, high=1_000_000)
    accounts_max: int = _setting(10_000_000, "accounts in memory, 200 bytes each: 2 GB", low=1, high=1_000_000_000)
    holds_max: int = _setting(2_000_000, "open holds in memory, 200 bytes each: 400 MB", low=1, high=100_000_000)
    window_ids: int = _setting(
        2_000_000, "recent ids in memory, 40 bytes each: 80 MB; older ones are looked up", low=8_190, high=100_000_000
    )

    body_bytes_max: int = _setting(
        16 * MIB, "body of a batch: 8,190 transfers with full metadata as a rule fit", low=64 * KIB, high=256 * MIB
    )
    single_body_bytes_max: int = _setting(
        16 * KIB, "body of a single command: its metadata is at most 1 KiB", low=4 * KIB, high=MIB
    )
    body_timeout_ms: int = _setting(10_000, "time for a body to arrive", low=100, high=600_000)
    answer_timeout_ms: int = _setting(
        10_000, "time for a command to become durable; beyond it 503, outcome unknown", low=100, high=600_000
    )
    header_bytes_max: int = _setting(16_384, "bytes of a request's head", low=8_192, high=262_144)
    header_timeout_ms: int = _setting(10_000, "time for a request's head to arrive", low=100, high=600_000)
    send_timeout_ms: int = _setting(
        30_000, "a client that takes nothing of its answer for so long is cut off", low=1_000, high=600_000
    )
    connections_max: int = _setting(4_096, "connections open at once", low=2, high=65_536)
    page_rows_max: int = _setting(1_000, "rows of one page of a list", low=1, high=1_000)
    batch_rows_max: int = _setting(
        8_190, "commands of one batch; the engine's own bound is the default", low=1, high=8_190
    )
    json_depth_max: int = _setting(
        11, "nesting of a JSON body; a batch whose metadata is deepest has 11", low=4, high=11
    )
    scan_rows_max: int = _setting(
        50_000, "journal rows that one page of history looks at; the page may be short", low=1_000, high=1_000_000
    )
    feed_readers_max: int = _setting(
        128, "requests that follow the feed at once, each with at most some MiB that its reader did not take yet",
        low=1, high=4_096,
    )  # fmt: skip
    feed_wait_s: int = _setting(30, "a request for the feed waits at most so long for a row", low=1, high=60)

    checkpoint_interval_s: int = _setting(60, "a restart replays at most what came since", low=1, high=86_400)
    checkpoint_rows: int = _setting(
        1_000_000,
        "journal rows, a second of replay, after which one is taken, if they take less than a fifth of the time",
        low=1_000,
        high=100_000_000,
    )
    signing_key: str = _setting("", "file of `pyledger signing-key create`; empty: no checkpoints are signed")
    signing_interval_s: int = _setting(
        60, "a checkpoint is signed so often, and when a proof waits for one", low=1, high=86_400
    )
    signing_dir: str = _setting("", "directory where signed checkpoints are kept outside the database, too")
    seal_rows: int = _setting(
        5_000_000,
        "a partition of the journal ends with about so many rows, a quarter of them at least, or what comes in 10 s",
        low=1_000,
        high=400_000_000,
    )
    seal_interval_s: int = _setting(
        604_800, "time after which a partition of the journal ends: a week, which is the longest", low=60, high=604_800
    )
    filters_mib: int = _setting(128, "memory for filters of older ids, 2 bytes each, or for none", low=0, high=65_536)
    lease_ms: int = _setting(
        5_000, "silence after which a standby takes over: five missed beats", low=2_000, high=600_000
    )
    drain_timeout_s: int = _setting(30, "a stop waits so long for requests that it took", low=1, high=600)
    key_refresh_s: int = _setting(2, "a revoked key works at most so long", low=1, high=60)
    log_level: str = _setting("info", "debug, info, warning or error")

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        *,
        user_id: int | None = None,
    ) -> Settings:
        """Read the environment; `overrides` (the command line) win. Raises `BadSetting`."""
        environ = os.environ if environ is None else environ
        user_id = os.geteuid() if user_id is None else user_id
        _refuse_unknown(environ)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            given = (overrides or {}).get(field.name)
            if given is None:
                given = environ.get(PREFIX + field.name.upper())
            if given is not None:
                values[field.name] = _parse(field, given)
        if not values.get("data_dir") or values["data_dir"] == Path():
            values["data_dir"] = default_data_dir(environ, user_id)
        settings = cls(**values)
        settings.refuse_insecure()
        settings.refuse_crowded()
        return settings

    @property
    def embedded(self) -> bool:
        """No database is named, so pyledger runs its own."""
        return not self.database_url

    @property
    def loopback(self) -> bool:
        """Nobody beyond this machine can connect."""
        return is_loopback(self.host)

    @property
    def tls(self) -> bool:
        """A certificate is given."""
        return bool(self.tls_cert)

    @property
    def url(self) -> str:
        """The base URL to reach the server at, from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{shown}:{self.port}"

    def refuse_insecure(self) -> None:
        """Refuse what would be insecure without anybody noticing. Raises `BadSetting`."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise BadSetting("PYLEDGER_TLS_CERT and PYLEDGER_TLS_KEY go together; only one is set")
        for name, path in (("TLS_CERT", self.tls_cert), ("TLS_KEY", self.tls_key)):
            if path and not os.access(path, os.R_OK):
                raise BadSetting(f"PYLEDGER_{name}: cannot read {path}")
        if self.dev and not self.loopback:
            raise BadSetting(f"--dev runs without keys and so only on loopback, not on {self.host}")
        if not self.loopback and not self.tls and not self.behind_tls_proxy:
            raise BadSetting(
                f"PYLEDGER_HOST={self.host} would carry keys unencrypted: set PYLEDGER_TLS_CERT and "
                "PYLEDGER_TLS_KEY, or PYLEDGER_BEHIND_TLS_PROXY=1 if a proxy ends TLS"
            )
        if "://" in self.signing_dir:
            raise BadSetting("PYLEDGER_SIGNING_DIR: only a directory of this machine can be used so far")
        if self.owner_url and not self.database_url:
            raise BadSetting("PYLEDGER_OWNER_URL is of no use without PYLEDGER_DATABASE_URL")

    def refuse_crowded(self) -> None:
        """Refuse bounds that leave nobody else room. Raises `BadSetting`."""
        if self.feed_readers_max >= self.connections_max:
            raise BadSetting(
                f"PYLEDGER_FEED_READERS_MAX={self.feed_readers_max} lets readers of the feed take all of "
                f"PYLEDGER_CONNECTIONS_MAX={self.connections_max}: it must be less"
            )

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For people: variable, value (secrets hidden), default, reason."""
        table = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            shown = "(set)" if field.metadata["secret"] and value else str(value)
            default = "by user" if field.name == "data_dir" else str(field.default)
            table.append((PREFIX + field.name.upper(), shown, default, field.metadata["reason"]))
        return table


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name in OTHER_VARIABLES or name.startswith(TEST_PREFIX):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadSetting(f"{name} is not a setting{hint}")


def _parse(field: dataclasses.Field[Any], given: object) -> object:
    name = PREFIX + field.name.upper()
    text = str(given).strip()
    if "\0" in text or "\n" in text:
        raise BadSetting(f"{name}: a value is one line of text")
    if isinstance(field.default, bool):
        return _parse_bool(name, given, text)
    if isinstance(field.default, int):
        return _parse_int(name, text, field.metadata["low"], field.metadata["high"])
    if isinstance(field.default, Path):
        return Path(os.path.abspath(os.path.expanduser(text))) if text else Path()
    if field.name == "log_level":
        if text.lower() not in LOG_LEVELS:
            raise BadSetting(f"{name}: {text!r} is none of {', '.join(LOG_LEVELS)}")
        return text.lower()
    if field.name.endswith("_url") and text and not text.startswith(("postgresql://", "postgres://")):
        raise BadSetting(f"{name}: must begin with postgresql://")
    if field.name == "host" and not text:
        raise BadSetting(f"{name}: must not be empty")
    return text


def _parse_bool(name: str, given: object, text: str) -> bool:
    if isinstance(given, bool):
        return given
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise BadSetting(f"{name}: {text!r} is neither true nor false")


def _parse_int(name: str, text: str, low: int, high: int) -> int:
    # Digits with _ between them, as the defaults are written; int() alone would also take " +1 ".
    if not text.replace("_", "").isascii() or not text.replace("_", "").isdigit():
        raise BadSetting(f"{name}: {text!r} is not a whole number")
    value = int(text.replace("_", ""))
    if not low <= value <= high:
        raise BadSetting(f"{name}: {value} is not within {low}..{high}")
    return value
