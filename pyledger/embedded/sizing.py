"""How large the embedded PostgreSQL may be on this machine, and the configuration that follows.

Pure: memory and disk are arguments. Guards: durability is never traded (fsync, full_page_writes and
synchronous_commit are on), WAL never takes more than a tenth of the disk's room, and nothing listens
beyond a socket in a private directory.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024
WAL_FILE_MIB: Final = 16
"""PostgreSQL's own size of one WAL file."""
WAL_MIB_MIN: Final = 5 * WAL_FILE_MIB
"""Below it PostgreSQL would checkpoint all the time; a disk that has no room for ten times as much is full."""
DISK_SHARE_MAX: Final = 10
"""WAL takes at most one part in so many of what is free or already WAL."""
SHARED_BUFFERS_MIB_MIN: Final = 64
SHARED_BUFFERS_MIB_MAX: Final = 8_192
"""The hot partition's index and its newest pages; beyond it the kernel's cache does as well."""
CONNECTIONS_MAX: Final = 60
"""Writer, checkpoint, pool of reads, keys, a standby with as many, and some people who look."""


def wal_mib(setting_mib: int, free_bytes: int, wal_bytes: int) -> int:
    """Room for WAL in MiB: the setting, but at most a tenth of what is free or WAL already."""
    room_mib = (free_bytes + wal_bytes) // MIB // DISK_SHARE_MAX
    whole_files = min(setting_mib, room_mib) // WAL_FILE_MIB * WAL_FILE_MIB
    return max(whole_files, WAL_MIB_MIN)


def configuration(memory_bytes: int, wal_room_mib: int, socket_dir: str) -> dict[str, str]:
    """The settings of the embedded PostgreSQL, by name."""
    memory_mib = memory_bytes // MIB
    buffers_mib = min(max(memory_mib // 8, SHARED_BUFFERS_MIB_MIN), SHARED_BUFFERS_MIB_MAX)
    return {
        # Nobody connects but through a directory that only its owner can enter.
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": socket_dir,
        "unix_socket_permissions": "0700",
        "max_connections": str(CONNECTIONS_MAX),
        # The promises.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # An eighth of the memory: the ledger's engine needs the larger part of it.
        "shared_buffers": f"{buffers_mib}MB",
        "effective_cache_size": f"{max(memory_mib // 2, 128)}MB",
        "maintenance_work_mem": f"{min(max(memory_mib // 32, 32), 512)}MB",
        "work_mem": "16MB",
        "wal_buffers": f"{min(max(buffers_mib // 32, 4), 64)}MB",
        # Files of WAL that exist already are written at twice the speed of new ones: keep them all.
        "min_wal_size": f"{wal_room_mib}MB",
        "max_wal_size": f"{wal_room_mib}MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        # An append-only ledger plans no query that compiling would help.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %u ",
        "log_checkpoints": "off",
        "lc_messages": "C",
        "cluster_name": "pyledger",
    }


def configuration_file(settings: dict[str, str]) -> str:
    """`postgresql.conf`, written anew at each start."""
    lines = ["# Written by pyledger at each start; changes made here are lost.\n"]
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    return "".join(lines)


ACCESS_FILE: Final = """\
# Written by pyledger at each start. Only the owner of the socket's directory can get this far.
local all         all trust
local replication all trust
"""
