"""Granian, embedded in our own event loop: the only file that knows which HTTP server this is.

What it does for us, found by experiment with 2.8.7 and held by tests: it speaks HTTP/1.1; it answers 400 to
what is not HTTP and 431 to a head that is too large or has more than 100 headers, both without a body; it
closes a connection whose head is late or that is idle for as long; it accepts no more connections than told,
the next ones wait in the kernel's queue; it never cancels a handler when its client hangs up; it reads a body
only when asked, and never more than Content-Length of it.

Guards: HTTP/1.1 only, so that requests in flight are bounded by connections, and a client cannot make and
abandon requests faster than they are answered. TLS 1.3 or nothing. And the port is ours alone: Granian by
itself would share it with whoever listens there already, silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import resource
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from granian import _futures
from granian._granian import CallbackScheduler, SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import embed

from pyledger.settings import is_loopback

if TYPE_CHECKING:
    import contextvars

    from pyledger.server.router import Application
    from pyledger.settings import Settings

log = logging.getLogger("pyledger.server")

BACKLOG: Final = 1_024
"""Connections that wait in the kernel to be accepted; beyond it a client's attempt times out."""

SPARE_CONNECTIONS: Final = 64
"""Connections accepted beyond `connections_max`, so that there is somebody to tell that it is too many."""

SPARE_FILES: Final = 256
"""File descriptors that are not connections of clients."""

STOP_TIMEOUT_S: Final = 5.0
"""Connections that still do not end are closed under their clients: all requests were answered before."""

_LOGGING: Final[dict[str, Any]] = {
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}


class CannotServe(Exception):
    """The address or the certificate cannot be used."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, ours alone. Raises `CannotServe`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServe(f"cannot listen on {host}: {error.strerror or error}") from error
    if is_loopback(host) and not is_loopback(str(address[0])):
        bound.close()
        raise CannotServe(f"{host} is {address[0]} here, which others can reach: name the address itself")
    try:
        # Without SO_REUSEPORT: a second server on this port is an error, not a partner.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(address)
        # Bound is not enough: two servers could both bind and only the second to listen would learn of it.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotServe(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return bound


def check_certificate(settings: Settings) -> None:
    """Refuse a certificate that does not load or does not fit its key. Raises `CannotServe`."""
    if not settings.tls_cert:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise CannotServe(f"the TLS certificate or key cannot be used: {reason}") from error
    if Path(settings.tls_key).stat().st_mode & 0o077:
        log.warning("others than its owner can read the TLS key %s", settings.tls_key)


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")


def raise_file_limit(connections_max: int) -> int:
    """Make room for that many connections, as far as the system lets us; how many there is room for."""
    wanted = connections_max + SPARE_CONNECTIONS + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < room:
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    elif soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections_max
    if room < wanted:
        possible = max(1, room - SPARE_CONNECTIONS - SPARE_FILES)
        log.warning("the limit of open files leaves room for %d connections of %d", possible, connections_max)
        return possible
    return connections_max


# Granian's stub describes the class of other systems than Linux.
_hold: Final[Any] = SocketHolder


class _Scheduler(CallbackScheduler):
    """As Granian's own, which makes a task of each request and answers 500 if that ends without an answer; but for
    requests that the application begins by itself, and for those that are answered later."""

    __slots__ = ()

    def __init__(self, loop: asyncio.AbstractEventLoop, application: Application, *_unused: object) -> None:
        super().__init__()
        context: contextvars.Context = self._ctx

        async def answer(watcher: Any) -> None:
            try:
                later = await application.__rsgi__(watcher.scope, watcher.proto)
            except BaseException as error:
                watcher.err(error)
                return
            if not later:
                watcher.done()

        def run(watcher: Any) -> None:
            # Its reference to the task keeps that alive.
            watcher.taskref(loop.create_task(answer(watcher)))

        def schedule(watcher: Any) -> None:
            # In Granian's thread for Python, of which there is one; nobody would hear of an error.
            if not application.begin(watcher.scope, watcher.proto):
                loop.call_soon_threadsafe(run, watcher, context=context)

        self._schedule_fn = schedule


def _scheduler(loop: asyncio.AbstractEventLoop, application: Application, impl_asyncio: bool) -> _Scheduler:
    del impl_asyncio
    return _Scheduler(loop, application, None, None, None)


_REPLACED: Final = {"_future_watcher_wrapper": operator.attrgetter("__self__"), "_new_cbscheduler": _scheduler}
_GRANIAN_FITS: Final = all(getattr(embed, name, None) is getattr(_futures, name, name) for name in _REPLACED)
vars(embed).update(_REPLACED)


class _Granian(embed.Server):
    """Granian on a socket that is already bound, and quiet about being embedded."""

    def __init__(self, listener: socket.socket, **options: Any) -> None:
        self._listener = listener
        super().__init__(**options)

    def _init_shared_socket(self) -> None:
        # From here on the file descriptor belongs to Granian, which closes it.
        self._shd: Any = _hold(self._listener.detach(), False, BACKLOG)
        self._ssp = None

    def end(self) -> None:
        """Accept nothing more and end once all connections have."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()


class Host:
    """The HTTP server of one process."""

    def __init__(self, listener: socket.socket, settings: Settings, connections_max: int) -> None:
        if not _GRANIAN_FITS:
            raise CannotServe("this version of Granian does not let answers come later: install granian 2.8.7")
        host, port = listener.getsockname()[:2]
        self.port: int = port
        self._listener = listener
        # Its connections inherit this. What is sent to somebody who does not take it stays in memory until then.
        with contextlib.suppress(AttributeError):  # Linux only
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.send_timeout_ms)
        self._options: dict[str, Any] = {
            "address": host,
            "port": port,
            "interface": Interfaces.RSGI,
            "http": HTTPModes.http1,
            "websockets": False,
            "backlog": BACKLOG,
            "blocking_threads": 1,
            "backpressure": connections_max + SPARE_CONNECTIONS,
            "http1_settings": HTTP1Settings(
                header_read_timeout=settings.header_timeout_ms, max_buffer_size=settings.header_bytes_max
            ),
            "log_level": LogLevels.error,
            "log_dictconfig": _LOGGING,
            "ssl_cert": Path(settings.tls_cert) if settings.tls_cert else None,
            "ssl_key": Path(settings.tls_key) if settings.tls_key else None,
            "ssl_protocol_min": SSLProtocols.tls13,
        }
        self._server: _Granian | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, application: Application) -> asyncio.Task[None]:
        """Begin to serve; the task ends when it no longer does."""
        self._server = _Granian(self._listener, target=application, **self._options)
        self._task = asyncio.create_task(self._server.serve(), name="pyledger-http")
        return self._task

    async def stop(self) -> None:
        """Accept nothing more, let what is being written be written, end."""
        if self._server is None or self._task is None:
            self._listener.close()
            return
        self._server.end()
        _, pending = await asyncio.wait({self._task}, timeout=STOP_TIMEOUT_S)
        if pending:
            log.warning("connections did not end within %.0f s", STOP_TIMEOUT_S)
            self._task.cancel()
