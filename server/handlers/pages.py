"""Pages of a list: the items as they are, and the cursor of what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyledger.server.replies import JSON, OK, Answer

if TYPE_CHECKING:
    from pyledger.ledger import Page


def page(found: Page) -> Answer:
    """The answer that is one page. Its items are JSON already."""
    following = msgspec.json.encode(found.next)
    return OK, JSON, b'{"data":[%b],"next":%b}' % (b",".join(found.items), following)
