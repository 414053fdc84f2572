"""Trees, notes, keys and directories, without a database: the vectors of the standards, and every byte changed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from pyledger._rust import tree_root
from pyledger.ledger.proofs import BadKey, BadNote, PublicKey, SigningKey, tree
from pyledger.ledger.proofs.notes import Checkpoint, Signed, printable
from pyledger.ledger.proofs.outside import Directory
from tests.support import verifier
from tests.support.chance import replayable

# The inputs and roots of the reference implementation of RFC 6962 (Certificate Transparency).
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Its audit paths: leaf, size, path.
PATHS = [
    (0, 1, []),
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]  # fmt: skip
# Its consistency proofs: first, second, path.
CONSISTENCY = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip

# The example of Go's note package: key, text, signature.
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


class Forest:
    """A tree of leaves with data of their own, each stored node of it, and its root at every size."""

    def __init__(self, data: list[bytes]) -> None:
        self.leaves = [tree.leaf_hash(each) for each in data]
        self.nodes: tree.Nodes = {(0, at): leaf for at, leaf in enumerate(self.leaves)}
        self.roots = [b""]
        growing = tree.Growing(lambda level, number, found: self.nodes.__setitem__((level, number), found))
        for leaf in self.leaves:
            growing.add(leaf)
            self.roots.append(growing.root())

    def path(self, ranges: list[tree.Range]) -> list[bytes]:
        """From nothing but the nodes that are asked for."""
        spans = tree.spans(ranges)
        assert all(after - first <= tree.FANOUT for _, first, after in spans)
        asked = {(level, at): self.nodes[level, at] for level, first, after in spans for at in range(first, after)}
        return [tree.subtree_hash(asked, *each) for each in ranges]


def test_the_vectors_of_rfc_6962() -> None:
    forest = Forest([bytes.fromhex(each) for each in INPUTS])
    assert [each.hex() for each in forest.roots[1:]] == ROOTS
    for index, size, path in PATHS:
        assert [each.hex() for each in forest.path(tree.inclusion(index, size))] == path
        assert (
            tree.included(forest.leaves[index], index, size, [bytes.fromhex(each) for each in path])
            == forest.roots[size]
        )
    for first, second, path in CONSISTENCY:
        assert [each.hex() for each in forest.path(tree.consistency(first, second))] == path


def test_trees_of_many_sizes_agree_with_the_definition_and_prove_every_leaf() -> None:
    chance = replayable()
    data = [chance.randbytes(32) for _ in range(tree.FANOUT * 3 + 5)]
    forest = Forest(data)
    for size in [*range(1, 40), 255, 256, 257, 511, 512, 513, len(data)]:
        root = forest.roots[size]
        assert root == verifier.mth(data[:size]) == tree_root(b"".join(forest.leaves[:size]))
        for index in {0, size - 1, *(chance.randrange(size) for _ in range(5))}:
            path = forest.path(tree.inclusion(index, size))
            assert tree.included(forest.leaves[index], index, size, path) == root
            assert verifier.climb(forest.leaves[index], index, size, [each.hex() for each in path]) == root
            for wrong in ([*path, root], path[1:] if path else [root]):
                assert tree.included(forest.leaves[index], index, size, wrong) != root
        for first in {1, size, *(chance.randrange(1, size + 1) for _ in range(5))}:
            path = forest.path(tree.consistency(first, size))
            assert tree.consistent(first, size, forest.roots[first], root, path), (first, size)
            for wrong in ([*path, root], path[1:] if path else [root], path[::-1] if len(set(path)) > 1 else [root]):
                assert not tree.consistent(first, size, forest.roots[first], root, wrong), (first, size)
            assert not tree.consistent(first, size, chance.randbytes(32), root, path)
            assert not tree.consistent(first, size, forest.roots[first], chance.randbytes(32), path)


def test_the_example_of_go_and_a_signature_of_somebody_elses_code(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SKEY + "\n")
    file.chmod(0o600)
    key = SigningKey.load(file)
    assert str(key.public) == VKEY
    assert PublicKey.parse(VKEY) == key.public
    assert key.sign(TEXT) == f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
    assert SKEY.rsplit("+", maxsplit=1)[-1] not in repr(key)
    note = key.sign(str(Checkpoint(key.name, 7, bytes(range(32)))))
    assert verifier.checkpoint(note, VKEY) == (key.name, 7, bytes(range(32)))
    assert Signed.parse(note).verify([PublicKey("another", key.public.raw), key.public]) == key.public


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = SigningKey.create(file, "books.example.com")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SigningKey.load(file) == made
    with pytest.raises(FileExistsError):
        SigningKey.create(file, "books.example.com")
    text = file.read_text()
    for wrong in (
        "",
        "PRIVATE+KEY+",
        text.replace("PRIVATE", "PUBLIC"),
        text.replace("books", "crooks"),
        text[:-6],
        text + "x",
    ):
        file.write_text(wrong)
        with pytest.raises(BadKey):
            SigningKey.load(file)
    file.write_text(text)
    file.chmod(0o640)
    with pytest.raises(BadKey, match="chmod 600"):
        SigningKey.load(file)
    with pytest.raises(BadKey, match="cannot read"):
        SigningKey.load(tmp_path / "none")
    for name in ("", "with space", "with+plus", "ä", "x" * 129, "line\nfeed"):
        with pytest.raises(BadKey, match="no origin"):
            SigningKey.create(tmp_path / "other", name)
    assert not (tmp_path / "other").exists()


def changed(original: bytes) -> list[bytes]:
    """Every byte, three ways."""
    return [
        original[:at] + bytes([byte ^ by]) + original[at + 1 :]
        for at, byte in enumerate(original)
        for by in (1, 32, 128)
    ]


def test_every_byte_of_a_note_and_of_a_public_key_counts(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key", "books.example.com")
    note = key.sign(str(Checkpoint(key.name, 1_000, hashlib.sha256(b"x").digest())))
    for wrong in changed(note.encode()):
        with pytest.raises(BadNote):
            Signed.parse(wrong.decode("utf-8", "replace")).verify([key.public])
    for wrong in changed(str(key.public).encode()):
        with pytest.raises(BadKey):
            PublicKey.parse(wrong.decode("utf-8", "replace"))
    witnessed = note + "— witness.example/w1 " + SIGNATURE + "\n"
    assert Signed.parse(witnessed).verify([key.public]) == key.public
    with pytest.raises(BadNote, match="none of the given keys"):
        Signed.parse(note).verify([PublicKey.parse(VKEY)])
    other = SigningKey.create(tmp_path / "other", "other.example.com")
    with pytest.raises(BadNote, match="signed a checkpoint of"):
        Signed.parse(other.sign(str(Checkpoint(key.name, 1, bytes(32))))).verify([other.public])


async def test_a_directory_keeps_the_first_of_a_name_and_says_which_is_newest(tmp_path: Path) -> None:
    from pyledger.ledger.proofs import Contradiction

    place = Directory(str(tmp_path / "deep" / "down"), 3)
    assert await place.newest() is None
    assert list(place.names()) == []
    with pytest.raises(Contradiction, match="is not there"):
        await place.open(new=False)
    assert not place.there()
    await place.open(new=True)
    await place.open(new=False)
    name = f"{7:020d}-00c0ffee"
    await place.make(name, "a note")
    await place.make(name, "a note")
    with pytest.raises(Contradiction, match="another checkpoint of that size"):
        await place.make(name, "another note")
    await place.point("a note")
    await place.point("a newer note")
    assert (list(place.names()), place.read(name), await place.newest()) == ([name], "a note", "a newer note")
    assert sorted(each.name for each in place.path.iterdir()) == [name, "checkpoint"]


async def test_a_directory_that_cannot_be_written_keeps_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Directory(str(tmp_path), 0)
    await place.open(new=True)
    (place.path / "checkpoint").mkdir()
    with pytest.raises(OSError, match="directory"):
        await place.point("a note")
    (place.path / "checkpoint").rmdir()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        await place.point("a note")
    assert list(place.path.iterdir()) == []


def test_a_key_signs_as_another_log_for_each_shard(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key", "books.example.com")
    assert key.of_shard(0) == key
    first, second = key.of_shard(1).public, key.of_shard(2).public
    assert (first.name, second.name) == ("books.example.com/1", "books.example.com/2")
    assert len({key.public.id, first.id, second.id}) == 3
    note = key.of_shard(1).sign(str(Checkpoint(first.name, 1, bytes(32))))
    assert Signed.parse(note).verify([key.public, first]) == first
    with pytest.raises(BadKey, match="no origin"):
        SigningKey.create(tmp_path / "long", "x" * 127).of_shard(12)


def test_a_tree_goes_on_from_the_edge_of_another() -> None:
    data = [bytes([at % 251]) * 32 for at in range(600)]
    forest = Forest(data)
    for size in (1, 2, 3, 255, 256, 257, 512, 513, 599):
        nodes = {
            (level, at): forest.nodes[level, at]
            for level, first, after in tree.spans([(0, size)])
            for at in range(first, after)
        }
        growing = tree.Growing(edge=tree.edge(nodes, 0, size))
        assert (growing.size, growing.root()) == (size, forest.roots[size])
        for leaf in forest.leaves[size:]:
            growing.add(leaf)
        assert growing.root() == forest.roots[600]


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert printable("a \x1b[2J\n\u202eä\u00a0") == "a \\x1b[2J\\n\\u202eä\\xa0"
