"""A second opinion on proofs: RFC 6962, RFC 8032 and C2SP notes in a hundred plain lines, and nothing of pyledger.

Guarded here: what the server calls a proof convinces somebody who only read the README and the standards.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]


def add(a: Point, b: Point) -> Point:
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return ((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def times(number: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def unpack(raw: bytes) -> Point:
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "not on the curve"
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


BASE = unpack((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    r, s = unpack(signature[:32]), int.from_bytes(signature[32:], "little")
    assert s < L
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, unpack(public)))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


def checkpoint(note: str, vkey: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key signed."""
    name, number, encoded = vkey.split("+", 2)
    public = base64.b64decode(encoded)
    assert public[0] == 1
    assert hashlib.sha256(name.encode() + b"\n" + public).hexdigest()[:8] == number
    text, line = note.split("\n\n")
    signer, signature = line.removeprefix("— ").removesuffix("\n").split(" ")
    raw = base64.b64decode(signature)
    assert (signer, raw[:4].hex()) == (name, number)
    assert ed25519(public[1:], text.encode() + b"\n", raw[4:]), "the signature is wrong"
    origin, size, root = text.split("\n")
    return origin, int(size), base64.b64decode(root)


def mth(leaves: list[bytes]) -> bytes:
    """The tree hash of RFC 6962, section 2.1, word for word; over the leaves' data."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def climb(leaf: bytes, index: int, size: int, path: list[str]) -> bytes:
    """From a leaf to the root: RFC 9162, section 2.1.3.2."""
    found, last = leaf, size - 1
    for step in path:
        other = bytes.fromhex(step)
        if index & 1 or index == last:
            found = hashlib.sha256(b"\1" + other + found).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + other).digest()
        index, last = index >> 1, last >> 1
    assert last == 0, "the path has another length"
    return found


def transfer(document: bytes, vkey: str) -> tuple[str, int]:
    """The id in the leaf of a proof that holds, and the size of its checkpoint."""
    proof: dict[str, Any] = json.loads(document)
    leaf, batch = bytes.fromhex(proof["leaf"]), proof["batch"]
    root = climb(hashlib.sha256(b"\0" + leaf).digest(), proof["row_index"], batch["rows"], proof["row_path"])
    numbers = b"".join(
        int(batch[name]).to_bytes(length, "little")
        for name, length in (("shard", 2), ("seq", 8), ("rows", 4), ("first_ns", 8), ("last_ns", 8))
    )
    own = hashlib.sha256(b"pyledger.batch.1" + bytes.fromhex(batch["previous"]) + numbers + root).digest()
    assert own.hex() == batch["hash"]
    _, size, signed = checkpoint(proof["checkpoint"], vkey)
    top = climb(hashlib.sha256(b"\0" + own).digest(), batch["seq"] - 1, size, proof["batch_path"])
    assert top == signed, "the path leads elsewhere"
    return leaf[36:52].hex(), size


def consistent(document: bytes, vkey: str) -> tuple[int, int]:
    """The sizes of two checkpoints, the second of which goes on where the first ended: RFC 9162, section 2.1.4.2."""
    proof: dict[str, Any] = json.loads(document)
    _, first, first_root = checkpoint(proof["first"], vkey)
    _, second, second_root = checkpoint(proof["second"], vkey)
    path = [bytes.fromhex(step) for step in proof["path"]]
    if first == second:
        assert not path and first_root == second_root
        return first, second
    if first & first - 1 == 0:
        path = [first_root, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for other in path[1:]:
        assert sn, "the path is too long"
        if fn & 1 or fn == sn:
            fr, sr = (hashlib.sha256(b"\1" + other + each).digest() for each in (fr, sr))
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\1" + sr + other).digest()
        fn, sn = fn >> 1, sn >> 1
    assert (fr, sr, sn) == (first_root, second_root, 0)
    return first, second
