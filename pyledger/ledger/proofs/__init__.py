"""Proofs: that a transfer was recorded, that history only ever grew; signed, and verified with a public key alone.

Read `tree.py` first, then `signer.py`: what is signed when. `document.py` is all that a verifier needs.
"""

from pyledger.ledger.proofs.notes import BadKey, BadNote, Contradiction, PublicKey, SigningKey
from pyledger.ledger.proofs.reads import Proofs
from pyledger.ledger.proofs.signer import Signer
from pyledger.ledger.proofs.store import drop_subtrees

__all__ = ["BadKey", "BadNote", "Contradiction", "Proofs", "PublicKey", "Signer", "SigningKey", "drop_subtrees"]
