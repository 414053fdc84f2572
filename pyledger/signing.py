"""`pyledger signing-key` and `pyledger verify`: keys that sign checkpoints, and proofs verified with nothing but one.

Guards: neither needs a database or a server. A key file is made once and never replaced; of a document that does not
hold nothing is said to be proven, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyledger.ledger.proofs.notes import Checkpoint, PublicKey

EXIT_DONE: Final = 0
EXIT_UNPROVEN: Final = 1

SHARDS_MAX: Final = 2**15
"""A shard's number is an int2."""
SHOWN: Final = ("ledger", "amount", "debit_account_id", "credit_account_id", "target_id", "reference", "metadata")
"""Of a row, beside what and when."""


def add_commands(commands: Any, parser: Any, machine: Any) -> None:
    """The two commands, for the command line's own kind of parser."""
    verify = commands.add_parser("verify", parents=[machine], help="verify a proof; needs neither server nor database")
    what = verify.add_mutually_exclusive_group(required=True)
    what.add_argument("--proof", metavar="FILE", help="of a transfer, as /v1/transfers/{id}/proof gave it")
    what.add_argument("--consistency", metavar="FILE", help="of two checkpoints, as .../consistency gave it")
    verify.add_argument("--key", action="append", required=True, help="public key, or a file with it; again for more")
    verify.add_argument("--accepted", action="store_true", help="of a transfer that was declined nothing is proven")
    verify.set_defaults(run=_verify)
    signing = commands.add_parser("signing-key", help="make and show the key that signs checkpoints")
    verbs = signing.add_subparsers(required=True, metavar="VERB", parser_class=parser)
    create = verbs.add_parser("create", parents=[machine], help="make a key in a new file; prints the public key")
    create.add_argument("file")
    create.add_argument("--origin", required=True, help="whose books: a name like books.example.com, kept for ever")
    create.set_defaults(run=_create)
    show = verbs.add_parser("show", parents=[machine], help="print the public key of a file")
    show.add_argument("file")
    show.add_argument("--shard", type=_shard, default=0, metavar="N", help="the key as which that shard signs")
    show.set_defaults(run=_show)


def _shard(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) >= SHARDS_MAX:
        raise argparse.ArgumentTypeError(f"a shard is a number from 0 to {SHARDS_MAX - 1}")
    return int(text)


def _create(asked: argparse.Namespace) -> int:
    from pyledger.ledger.proofs.notes import BadKey, SigningKey

    try:
        made = SigningKey.create(Path(asked.file), asked.origin).public
    except OSError as error:
        raise BadKey(f"cannot make {asked.file}: {error.strerror}") from error
    _say_key(made, asked)
    sys.stderr.write(f"{asked.file} signs checkpoints of {made.name}; the server takes it as PYLEDGER_SIGNING_KEY.\n")
    return EXIT_DONE


def _show(asked: argparse.Namespace) -> int:
    from pyledger.ledger.proofs.notes import SigningKey

    _say_key(SigningKey.load(Path(asked.file)).of_shard(asked.shard).public, asked)
    return EXIT_DONE


def _say_key(key: PublicKey, asked: argparse.Namespace) -> None:
    """The public key alone on stdout, for whoever is to verify."""
    print(json.dumps({"key": str(key)}, indent=2) if asked.json else key)


def _verify(asked: argparse.Namespace) -> int:
    from pyledger.ledger.proofs.document import BadProof
    from pyledger.ledger.proofs.notes import printable

    try:
        found = _proven(asked)
    except BadProof as error:
        sys.stderr.write(f"pyledger: this proves nothing: {printable(str(error))}\n")
        return EXIT_UNPROVEN
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        _say_proven(found)
    return EXIT_DONE


def _proven(asked: argparse.Namespace) -> dict[str, Any]:
    """What the documents that the command line names prove. Raises `BadProof`, `BadKey` or `FileNotFoundError`."""
    import msgspec

    from pyledger.ledger.proofs.document import BadProof, verify, verify_consistency
    from pyledger.ledger.times import instant

    keys = [public_key(text) for text in asked.key]
    if asked.consistency is not None:
        if asked.accepted:
            raise BadProof("two checkpoints say nothing of a transfer: --accepted is for --proof")
        first, second = verify_consistency(_read(asked.consistency), keys)
        return {"first": _shown(first), "second": _shown(second)}
    proven = verify(_read(asked.proof), keys)
    if asked.accepted and proven.row.outcome != "accepted":
        raise BadProof(f"{proven.row.kind} {proven.row.id} was declined: {proven.row.outcome}")
    row = msgspec.to_builtins(proven.row) | {"recorded_at": instant(int(proven.row.recorded_ns))}
    return {"row": row, "batch": proven.batch.seq, "checkpoint": _shown(proven.checkpoint), "key": str(proven.key)}


def _say_proven(found: dict[str, Any]) -> None:
    """For a person; texts of others come from whoever recorded them."""
    from pyledger.ledger.proofs.notes import printable

    if "row" not in found:
        first, second = found["first"], found["second"]
        print(
            f"{second['origin']}: its {second['size']} batches begin with the {first['size']} of the first checkpoint."
        )
        return
    row, checkpoint = found["row"], found["checkpoint"]
    print(f"{row['kind']} {row['id']}: {row['outcome']}, recorded at {row['recorded_at']}")
    for name in SHOWN:
        if row[name] is not None:
            print(f"  {name}: {printable(str(row[name]))}")
    print(f"It is in batch {found['batch']} of the {checkpoint['size']} of a checkpoint that was signed by")
    print(f"  {found['key']}")


def public_key(text: str) -> PublicKey:
    """A public key, or the name of a file with one."""
    from pyledger.ledger.proofs.notes import PublicKey

    return PublicKey.parse(text if "+" in text else _read(text).decode("utf-8", "replace").strip())


def _read(path: str) -> bytes:
    """A file, or with `-` what comes in; no more than a document may have."""
    from pyledger.ledger.proofs.document import DOCUMENT_BYTES_MAX

    if path == "-":
        return sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
    with Path(path).open("rb") as file:
        return file.read(DOCUMENT_BYTES_MAX + 1)


def _shown(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
