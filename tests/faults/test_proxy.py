"""The proxy that breaks wires, against a target that remembers: exactly the bytes it was told to pass, passed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.faults.proxy import Break, Cut, Proxy, Way
from tests.support.clusters import Database

PATIENCE_S = 5.0
QUIET_S = 0.4
"""When so long nothing has come, nothing will."""


class Echo:
    """Answers each byte with itself and remembers what came and how it ended."""

    def __init__(self) -> None:
        self.heard = b""
        self.ends: list[str] = []
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Echo:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = ("127.0.0.1", int(self._server.sockets[0].getsockname()[1]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
            self.ends.append("closed")
        except OSError:
            self.ends.append("reset")
        self.ended.set()
        writer.transport.abort()


async def say(port: int, *words: bytes) -> tuple[bytes, str]:
    """Say some words, each once the one before is answered; what was answered and how it ended."""
    loop = asyncio.get_running_loop()
    answered, said = b"", 0
    with socket.socket() as ours:
        ours.setblocking(False)
        await loop.sock_connect(ours, ("127.0.0.1", port))
        try:
            for word in words:
                await loop.sock_sendall(ours, word)
                said += len(word)
                async with asyncio.timeout(QUIET_S):
                    while len(answered) < said:
                        if not (data := await loop.sock_recv(ours, 65_536)):
                            return answered, "closed"
                        answered += data
            async with asyncio.timeout(QUIET_S):
                answered += await loop.sock_recv(ours, 65_536)
            return answered, "closed"
        except TimeoutError:
            return answered, "open"
        except ConnectionResetError:
            return answered, "reset"


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, Proxy]]:
    async with Echo() as echo, Proxy(echo.address) as proxy:
        yield echo, proxy


async def test_it_passes_everything_until_told_otherwise() -> None:
    async with proxied() as (echo, proxy):
        words = [bytes([number]) * 70_000 for number in range(5)]
        assert await say(proxy.port, *words) == (b"".join(words), "open")
        assert echo.heard == b"".join(words)
        await asyncio.wait_for(echo.ended.wait(), PATIENCE_S)


@pytest.mark.parametrize("way", list(Way))
async def test_cut_at_every_byte(way: Way) -> None:
    async with proxied() as (echo, proxy):
        for passed in range(13):
            echo.heard, echo.ended = b"", asyncio.Event()
            (armed,) = proxy.arm(Cut(way, passed, marker=b"BEGIN"))
            answered, end = await say(proxy.port, b"before", b"xBEGIN and more")
            assert armed.struck.is_set()
            assert end == "reset"
            await asyncio.wait_for(echo.ended.wait(), PATIENCE_S)
            heard = b"beforexBEGIN and more"
            if way is Way.UP:
                assert echo.heard == heard[: 7 + passed]
                assert answered == echo.heard[: len(answered)]
            else:
                assert len(answered) == 6 + passed
                assert heard.startswith(echo.heard)
        assert proxy.cuts == 13


async def test_counting_without_a_marker_begins_at_arming_over_all_links() -> None:
    async with proxied() as (echo, proxy):
        (armed,) = proxy.arm(Cut(Way.UP, 10))
        assert await say(proxy.port, b"123456") == (b"123456", "open")
        assert not armed.struck.is_set()
        await say(proxy.port, b"7890abc")
        assert armed.struck.is_set()
        assert echo.heard == b"1234567890"


async def test_a_cut_strikes_only_those_it_is_meant_for_and_only_once() -> None:
    async with proxied() as (_, proxy):
        first, second = proxy.arm(Cut(Way.UP, 0, only=b"writer"), Cut(Way.UP, 4, only=b"writer"))
        assert await say(proxy.port, b"reader") == (b"reader", "open")
        assert await say(proxy.port, b"writer") == (b"", "reset")
        assert (first.struck.is_set(), second.struck.is_set()) == (True, False)
        assert (await say(proxy.port, b"writer"))[1] == "reset"
        assert second.struck.is_set()
        assert await say(proxy.port, b"writer") == (b"writer", "open")


@pytest.mark.parametrize(
    ("how", "client_end", "target_end", "target_waits"),
    [
        (Break.RESET, "reset", "reset", False),
        (Break.CLOSE, "closed", "closed", False),
        (Break.CLIENT_FIRST, "reset", "reset", True),
        (Break.TARGET_FIRST, "open", "reset", False),
        (Break.SILENCE, "open", "reset", True),
    ],
)
async def test_each_way_to_break(how: Break, client_end: str, target_end: str, target_waits: bool) -> None:
    async with proxied() as (echo, proxy):
        proxy.arm(Cut(Way.UP, 5, how, linger_s=1.0))
        saying = asyncio.ensure_future(say(proxy.port, b"hello, you"))
        await asyncio.sleep(0.3)
        assert echo.ended.is_set() is not target_waits
        assert (await saying)[1] == client_end
        await asyncio.wait_for(echo.ended.wait(), PATIENCE_S)
        assert echo.heard == b"hello"
        assert echo.ends == [target_end]


async def test_delay_freeze_away_and_deaf() -> None:
    async with proxied() as (echo, proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.delay_s[Way.DOWN] = 0.2
        began = time.monotonic()
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        assert time.monotonic() - began >= 0.19
        proxy.delay_s[Way.DOWN] = 0.0
        proxy.freeze()
        writer.write(b"b")
        await asyncio.sleep(0.1)
        assert echo.heard == b"a"
        proxy.thaw()
        assert await asyncio.wait_for(reader.read(1), PATIENCE_S) == b"b"
        await proxy.cut_all()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.transport.abort()
        proxy.away = True
        assert await say(proxy.port, b"hello") == (b"", "reset")
        proxy.away, proxy.deaf = False, True
        saying = asyncio.ensure_future(say(proxy.port, b"hello"))
        await asyncio.sleep(0.1)
        assert echo.heard == b"ab"
        proxy.deaf = False
        assert await saying == (b"hello", "open")


async def test_an_end_of_one_side_reaches_the_other() -> None:
    async with proxied() as (echo, proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"all")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"all"
        assert echo.ends == ["closed"]
        writer.close()


async def test_in_front_of_postgresql_with_all_that_passes(database: Database) -> None:
    path = next(database.postgres.cluster.place.socket_dir.glob(".s.PGSQL.[0-9]*[0-9]"))
    async with Proxy(str(path)) as proxy:
        url = f"postgresql://test_server@127.0.0.1:{proxy.port}/{database.name}?sslmode=disable"
        connection = await asyncpg.connect(url)
        (armed,) = proxy.arm(Cut(Way.DOWN, 10_000, marker=b"SELECT"))
        assert await connection.fetchval("SELECT 'there'") == "there"
        assert armed.passed[Way.UP].startswith(b"SELECT 'there'")
        assert b"there" in armed.passed[Way.DOWN]
        (armed,) = proxy.arm(Cut(Way.DOWN, 3, marker=b"SELECT"))
        with pytest.raises((asyncpg.ConnectionDoesNotExistError, OSError)):
            await connection.fetchval("SELECT 'gone'")
        assert len(armed.passed[Way.DOWN]) == 3
        connection.terminate()
