"""The kernel's FUSE protocol over a `Disk`, as much of it as PostgreSQL needs; linux/fuse.h is the source.

Guards: every request that wants a reply gets exactly one; what the disk raises becomes that reply's error. Once
`dead`, every request fails with EIO and the disk is not touched any more: that is the moment of the power loss.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from typing import Final

from tests.faults.amnesia.disk import ROOT, Disk, Node

VERSION: Final = (7, 31)
WRITE_BYTES_MAX: Final = 1024 * 1024
REQUEST_BYTES_MAX: Final = WRITE_BYTES_MAX + 4_096
VALID_S: Final = 86_400
"""How long the kernel may believe what it was told; nobody else changes anything."""
BLOCKS: Final = 1 << 24
BLOCK_BYTES: Final = 4_096

# Flags of INIT: large writes, more pages a request, and no OPEN at all, for a file's number says it all.
BIG_WRITES, NO_OPEN, MAX_PAGES = 1 << 5, 1 << 17, 1 << 22
SET_MODE, SET_USER, SET_GROUP, SET_SIZE = 1, 2, 4, 8
FSYNC_DATA_ONLY: Final = 1
NO_REPLY: Final = frozenset({2, 36, 42})
"""FORGET, INTERRUPT and BATCH_FORGET."""

_IN: Final = struct.Struct("<IIQQIIIHH")
_OUT: Final = struct.Struct("<IiQ")
_ATTRIBUTES: Final = struct.Struct("<6Q10I")
_SETATTR: Final = struct.Struct("<II6QIIIIIIII")

Reply = tuple[bytes | memoryview | bytearray, ...]


def mount(path: str) -> int:
    """Mount a file system of ours on a directory. The file of /dev/fuse to serve it from; raises `OSError`."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions"
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"amnesia", path.encode(), b"fuse.amnesia", 0, options.encode()) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), f"mount {path}: {os.strerror(ctypes.get_errno())}")
    return device


def unmount(path: str, *, lazily: bool = False) -> None:
    """Take it away; lazily even if somebody still uses it. Raises `OSError`."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.umount2(path.encode(), 2 if lazily else 0) != 0:
        raise OSError(ctypes.get_errno(), f"unmount {path}: {os.strerror(ctypes.get_errno())}")


def _attributes(node: Node) -> bytes:
    seconds, nanoseconds = divmod(node.changed_ns, 10**9)
    size = len(node.content)
    links = 2 if node.is_directory else 1
    return _ATTRIBUTES.pack(
        node.number, size, -(-size // 512), seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        node.mode, links, node.user, node.group, 0, BLOCK_BYTES, 0,
    )  # fmt: skip


def _entry(node: Node) -> bytes:
    return struct.pack("<4Q2I", node.number, 0, VALID_S, VALID_S, 0, 0) + _attributes(node)


def _name(body: memoryview) -> bytes:
    return bytes(body).partition(b"\0")[0]


class Server:
    """Answers the kernel's requests out of a disk, one after another."""

    def __init__(self, disk: Disk, device: int) -> None:
        self.disk, self.device = disk, device
        self.dead = False
        self.requests = 0
        self._buffer = bytearray(REQUEST_BYTES_MAX)
        self._listings: dict[int, list[tuple[bytes, int, int]]] = {}
        self._user = self._group = 0
        self._answers: dict[int, Callable[[int, memoryview], Reply]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 8: self._mknod, 9: self._mkdir, 10: self._unlink,
            11: self._rmdir, 12: self._rename, 15: self._read, 16: self._write, 17: self._statfs, 20: self._fsync,
            26: self._init, 27: self._opendir, 28: self._readdir, 29: self._releasedir, 30: self._fsync,
            35: self._create, 43: self._fallocate, 45: self._rename2,
        }  # fmt: skip

    def serve_one(self) -> bool:
        """Wait for a request and answer it; false once the file system is unmounted."""
        try:
            length = os.readv(self.device, [self._buffer])
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.EBADF}:
                return False
            if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOENT}:
                return True
            raise
        _, operation, unique, number, self._user, self._group, *_ = _IN.unpack_from(self._buffer)
        if operation in NO_REPLY:
            return True
        self.requests += 1
        parts: Reply = ()
        code = 0
        with memoryview(self._buffer)[_IN.size : length] as body:
            try:
                if self.dead:
                    raise OSError(errno.EIO, "the power is gone")
                if operation not in self._answers:
                    raise OSError(errno.ENOSYS, "not needed")
                parts = self._answers[operation](number, body)
            except OSError as error:
                code = error.errno or errno.EIO
        self._reply(unique, code, parts)
        return True

    def _reply(self, unique: int, code: int, parts: Reply) -> None:
        header = _OUT.pack(_OUT.size + sum(map(len, parts)), -code, unique)
        try:
            os.writev(self.device, [header, *parts])
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:  # nobody waits any more
                raise
        for part in parts:
            if isinstance(part, memoryview):
                part.release()

    def _init(self, _: int, body: memoryview) -> Reply:
        _, _, readahead, offered = struct.unpack_from("<IIII", body)
        flags = offered & (BIG_WRITES | NO_OPEN | MAX_PAGES)
        pages = WRITE_BYTES_MAX // 4_096
        return (struct.pack("<IIIIHHIIHHI28x", *VERSION, readahead, flags, 16, 12, WRITE_BYTES_MAX, 1, pages, 0, 0),)

    def _lookup(self, directory: int, body: memoryview) -> Reply:
        return (_entry(self.disk.find(directory, _name(body))),)

    def _getattr(self, number: int, _: memoryview) -> Reply:
        return (struct.pack("<QII", VALID_S, 0, 0) + _attributes(self.disk.node(number)),)

    def _setattr(self, number: int, body: memoryview) -> Reply:
        valid, _, _, size, _, _, _, _, _, _, _, mode, _, user, group, _ = _SETATTR.unpack_from(body)
        node = self.disk.node(number)
        if valid & SET_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        node.user = user if valid & SET_USER else node.user
        node.group = group if valid & SET_GROUP else node.group
        if valid & SET_SIZE:
            self.disk.resize(number, size)
        return self._getattr(number, body)

    def _mkdir(self, directory: int, body: memoryview) -> Reply:
        mode, umask = struct.unpack_from("<II", body)
        mode = stat.S_IFDIR | (mode & ~umask & 0o7777)
        return (_entry(self.disk.create(directory, _name(body[8:]), mode, self._user, self._group)),)

    def _mknod(self, directory: int, body: memoryview) -> Reply:
        """A file or a socket; what comes through a socket is the kernel's business."""
        mode, _, umask = struct.unpack_from("<III", body)
        mode = stat.S_IFMT(mode) | (mode & ~umask & 0o7777)
        return (_entry(self.disk.create(directory, _name(body[16:]), mode, self._user, self._group)),)

    def _create(self, directory: int, body: memoryview) -> Reply:
        _, mode, umask, _ = struct.unpack_from("<IIII", body)
        mode = stat.S_IFREG | (mode & ~umask & 0o7777)
        made = self.disk.create(directory, _name(body[16:]), mode, self._user, self._group)
        return (_entry(made) + bytes(16),)

    def _unlink(self, directory: int, body: memoryview) -> Reply:
        self.disk.remove(directory, _name(body), of_directory=False)
        return ()

    def _rmdir(self, directory: int, body: memoryview) -> Reply:
        self.disk.remove(directory, _name(body), of_directory=True)
        return ()

    def _rename(self, directory: int, body: memoryview, *, head_bytes: int = 8) -> Reply:
        (to_directory,) = struct.unpack_from("<Q", body)
        name, _, rest = bytes(body[head_bytes:]).partition(b"\0")
        self.disk.rename(directory, name, to_directory, rest.partition(b"\0")[0])
        return ()

    def _rename2(self, directory: int, body: memoryview) -> Reply:
        if struct.unpack_from("<I", body, 8) != (0,):
            raise OSError(errno.EINVAL, "no exchange, no condition")
        return self._rename(directory, body, head_bytes=16)

    def _read(self, number: int, body: memoryview) -> Reply:
        _, offset, size = struct.unpack_from("<QQI", body)
        return (memoryview(self.disk.node(number).content)[offset : offset + size],)

    def _write(self, number: int, body: memoryview) -> Reply:
        _, offset, size = struct.unpack_from("<QQI", body)
        self.disk.write(number, offset, body[40 : 40 + size])
        return (struct.pack("<II", size, 0),)

    def _fallocate(self, number: int, body: memoryview) -> Reply:
        _, offset, length, mode = struct.unpack_from("<QQQI", body)
        if mode != 0:
            raise OSError(errno.EOPNOTSUPP, "no holes")
        if offset + length > len(self.disk.node(number).content):
            self.disk.resize(number, offset + length)
        return ()

    def _fsync(self, number: int, body: memoryview) -> Reply:
        _, flags = struct.unpack_from("<QI", body)
        self.disk.sync(number, data_only=bool(flags & FSYNC_DATA_ONLY))
        return ()

    def _statfs(self, _: int, __: memoryview) -> Reply:
        free = BLOCKS // 2
        return (struct.pack("<5Q4I24x", BLOCKS, free, free, BLOCKS, free, BLOCK_BYTES, 255, BLOCK_BYTES, 0),)

    def _opendir(self, number: int, _: memoryview) -> Reply:
        """A listing is of one moment, whatever happens to the directory meanwhile."""
        nodes = ((name, self.disk.node(each)) for name, each in sorted(self.disk.node(number).names.items()))
        listed = [(name, node.number, stat.S_IFMT(node.mode) >> 12) for name, node in nodes]
        handle = max(self._listings, default=0) + 1
        self._listings[handle] = [(b".", number, 4), (b"..", ROOT, 4), *listed]
        return (struct.pack("<QII", handle, 0, 0),)

    def _readdir(self, _: int, body: memoryview) -> Reply:
        handle, offset, size = struct.unpack_from("<QQI", body)
        out = b""
        for place, (name, number, kind) in enumerate(self._listings[handle][offset:], offset + 1):
            entry = struct.pack("<QQII", number, place, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return (out,)

    def _releasedir(self, _: int, body: memoryview) -> Reply:
        self._listings.pop(*struct.unpack_from("<Q", body))
        return ()
