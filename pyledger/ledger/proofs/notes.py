"""Signed checkpoints: C2SP's tlog-checkpoint in a signed-note, with Ed25519; and keys as Go's packages write them.

The invariant: what is read is what would be written again, to the byte, so nothing about a note can be changed and
still be the same checkpoint; a note counts only by the signature of a key that was given. See
c2sp.org/tlog-checkpoint and c2sp.org/signed-note.
"""

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyledger.ledger.nouns import LedgerError, StartupRefused

NOTE_BYTES_MAX: Final = 16_384
"""A note with its signatures, those of sixteen witnesses among them."""
NAME_BYTES_MAX: Final = 128
"""The name of a key, which is the origin of its checkpoints."""
KEY_FILE_BYTES_MAX: Final = 1_024
"""A key file is one line of some hundred bytes."""

_ED25519: Final = b"\1"
_PRIVATE: Final = "PRIVATE+KEY+"
_DASH: Final = "\N{EM DASH} "
_NAME: Final = re.compile(r"[!-*,-~]+")
"""Visible ASCII without a plus, which is narrower than the standard: no two names look alike."""
_SIZE: Final = re.compile(r"[1-9][0-9]{0,18}")


class BadKey(StartupRefused):
    """A key, or a key file, that cannot be used. `str()` is one clear line."""


class BadNote(LedgerError):
    """A note that is not what it should be, or that no known key signed. `str()` is one clear line."""


class Contradiction(LedgerError):
    """What is stored is not what was committed, or not what was signed. `str()` is one clear line."""


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode(text: str) -> bytes | None:
    """Canonical base64 only: the last character has bits that mean nothing, and they must be zero."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _encode(raw) == text else None


def printable(text: str) -> str:
    """Somebody else's text with nothing in it that a terminal would obey, or show in another order."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def check_name(name: str) -> str:
    """A key's name. Raises `BadKey`."""
    if not _NAME.fullmatch(name) or len(name) > NAME_BYTES_MAX:
        raise BadKey(f"{name!r} is no origin: 1 to {NAME_BYTES_MAX} visible ASCII characters without + and space")
    return name


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whoever has it can verify; `str()` is the form in which it is printed, served and given."""

    name: str
    raw: bytes

    @property
    def id(self) -> bytes:
        """What a signature names it by, beside the name: four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(_ED25519 + self.raw)}"

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Of its `str()`. Raises `BadKey`."""
        name, _, rest = text.partition("+")
        _, _, encoded = rest.partition("+")
        raw = _decode(encoded) or b""
        if len(raw) != 33 or not raw.startswith(_ED25519):
            raise BadKey(f"{text[:64]!r} is no public key; it looks like books.example.com+1a2b3c4d+AT...")
        key = cls(check_name(name), raw[1:])
        if str(key) != text:
            raise BadKey(f"the public key of {name} was mistyped: its number does not fit")
        return key

    def verifies(self, signature: bytes, text: str) -> bool:
        """Whether it made this signature of this text."""
        # Here, so that nobody who neither signs nor verifies needs the library.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Whoever has it can sign."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The other half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return PublicKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signed note of a text."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {_encode(self.public.id + signature)}\n"

    def of_shard(self, shard: int) -> "SigningKey":
        """The same key under the name that a shard signs by: each has a tree of its own, so each is another log.

        Shard 0 signs by the key's own name. Raises `BadKey` if the name gets too long."""
        return SigningKey(check_name(f"{self.name}/{shard}"), self.seed) if shard else self

    @classmethod
    def create(cls, path: Path, name: str) -> "SigningKey":
        """Make a key in a new file that only its owner can read. Raises `BadKey`, or `OSError` if there is one."""
        key = cls(check_name(name), os.urandom(32))
        line = f"{_PRIVATE}{name}+{key.public.id.hex()}+{_encode(_ED25519 + key.seed)}\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return key

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Of its file. Raises `BadKey`, also if others could read it."""
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise BadKey(f"others than its owner may use the signing key: chmod 600 {path}")
                text = file.read(KEY_FILE_BYTES_MAX).decode("ascii", "replace").removesuffix("\n")
        except OSError as error:
            raise BadKey(f"cannot read the signing key {path}: {error.strerror}") from error
        name, _, rest = text.removeprefix(_PRIVATE).partition("+")
        raw = _decode(rest.partition("+")[2]) or b""
        if not text.startswith(_PRIVATE) or len(raw) != 33 or not raw.startswith(_ED25519):
            raise BadKey(f"{path} is no signing key of `pyledger signing-key create`")
        key = cls(check_name(name), raw[1:])
        if rest.partition("+")[0] != key.public.id.hex():
            raise BadKey(f"{path} is damaged: the number in it is not that of its key")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a tree: whose, how many leaves, which root. `str()` is the text that is signed."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Of its text. Raises `BadNote`."""
        origin, _, rest = text.partition("\n")
        size, _, rest = rest.partition("\n")
        root = _decode(rest.partition("\n")[0]) or b""
        if not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(root) != 32:
            raise BadNote("it is no checkpoint")
        found = cls(origin, int(size), root)
        if str(found) != text:
            raise BadNote("it has more than an origin, a size and a root")
        return found


@dataclass(frozen=True, slots=True)
class Signed:
    """A note, taken apart and not verified yet."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Name, key number and signature of each."""

    @classmethod
    def parse(cls, note: str) -> "Signed":
        """Of the whole note. Raises `BadNote`."""
        text, blank, lines = note.rpartition("\n\n")
        if len(note) > NOTE_BYTES_MAX or not blank or not lines.endswith("\n"):
            raise BadNote("it is no signed note")
        signatures = []
        for line in lines.removesuffix("\n").split("\n"):
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            raw = _decode(encoded) or b""
            if not line.startswith(_DASH) or not name or len(raw) <= 4:
                raise BadNote("it has a line that is no signature")
            signatures.append((name, raw[:4], raw[4:]))
        return cls(Checkpoint.parse(text + "\n"), tuple(signatures))

    def verify(self, keys: Iterable[PublicKey]) -> PublicKey:
        """The first of the keys that signed it. Raises `BadNote` if none did, or one with its number did not."""
        known = {(key.name, key.id): key for key in keys}
        found: PublicKey | None = None
        for name, number, signature in self.signatures:
            key = known.get((name, number))
            if key is not None and not key.verifies(signature, str(self.checkpoint)):
                raise BadNote(f"its signature by {key.name} is wrong")
            found = found or key
        if found is None:
            signers = ", ".join(f"{printable(name)}+{number.hex()}" for name, number, _ in self.signatures)
            raise BadNote(f"none of the given keys signed it; it names {signers}")
        if found.name != self.checkpoint.origin:
            raise BadNote(f"{found.name} signed a checkpoint of {self.checkpoint.origin}")
        return found
