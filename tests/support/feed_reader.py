"""A program that follows the feed and writes down what it was given, one line an event; to be killed at any time.

    python -m tests.support.feed_reader URL CURSOR_FILE SEEN_FILE

Guarded here: a line is in the file, whole, before the next event is asked for, and so before its cursor can be
stored.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from pyledger.client import Client, Feed, FileStore, Retry

IMPATIENT: Final = Retry(wait_max_s=0.3)


async def main(url: str, cursor_file: str, seen_file: str) -> None:
    """Follow until killed."""
    seen = os.open(seen_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(seen, b"begun\n")
    async with Client(url, retry=IMPATIENT) as client:
        feed = Feed(client, declined=True, page_rows=100, wait_s=2, retry=IMPATIENT)
        async for event in feed.events(FileStore(cursor_file)):
            os.write(seen, f"{event.kind} {event.row.id}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
