"""`docs.html` as it is served: with a policy that lets it run its own script and nothing else.

Guards: the page reaches no other host, by the browser's own enforcement.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Final

from pyledger.server.replies import COMMON, Headers

DOCS: Final[bytes] = (resources.files(__package__) / "docs.html").read_bytes()


def _hashes(tag: bytes) -> str:
    bodies = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), DOCS, flags=re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in bodies)


POLICY: Final = (
    f"default-src 'none'; connect-src 'self'; img-src data:; script-src {_hashes(b'script')}; "
    f"style-src {_hashes(b'style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

DOCS_HEADERS: Final[Headers] = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    *COMMON,
]
