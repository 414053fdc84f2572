"""What is archived, over a real socket: each question for it is a clear no that says where it is, and nothing is done
twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.ledger.tools import TENANT, run_as_admin
from tests.retention.tools import History, archive, bring_back, write_history
from tests.server.talk import Talker, new_id
from tests.support.clusters import Database
from tests.support.process import ServerProcess


def ask(talker: Talker, history: History) -> None:
    """Every question that has to do with what is archived."""
    gone, here = history.weeks[0][1], history.weeks[2][0]
    account = f"/v1/accounts/{history.accounts[0]}"
    for path in (f"/v1/transfers/{gone['id']}", f"/v1/transfers/{gone['id']}/proof"):
        answer = talker.get(path)
        assert (answer.status, answer.code, answer.json["archive"]) == (410, "archived", history.names[0])
    for path in (
        "/v1/transfers?order=oldest",
        f"{account}/statement",
        f"{account}/statement?format=csv",
        f"{account}/statement?by=effective",
        f"{account}?as_of=2100-01-01T00:00:00Z&by=effective",
    ):
        answer = talker.get(path)
        assert (answer.status, answer.code) == (410, "history_archived"), path
        assert talker.get(f"{account}/statement?since={answer.json['here_since']}").status == 200, path
    since = talker.get("/v1/transfers?order=oldest").json["here_since"]
    for path in (
        f"/v1/transfers?order=oldest&since={since}",
        f"{account}/statement?since={since}",
        f"{account}?as_of={since}",
        f"/v1/ledgers/1/trial-balance?as_of={since}",
        f"/v1/transfers/{here['id']}",
    ):
        assert talker.get(path).status == 200, path
    answer = talker.get("/v1/feed")
    assert (answer.status, answer.code) == (410, "cursor_gone")
    assert talker.get(f"/v1/feed?after={answer.json['next']}").status == 200
    before = talker.get(account).json
    for body in (gone, gone | {"amount": "1"}):
        answer = talker.post("/v1/transfers", body)
        assert (answer.status, answer.code) == (422, "id_archived")
    answer = talker.post(f"/v1/transfers/{gone['id']}/reverse", {"id": new_id()})
    assert (answer.status, answer.code) == (422, "transfer_archived")
    assert talker.get(account).json == before, "nothing moved"


async def test_whoever_asks_for_what_is_archived_is_told(
    database: Database, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    await run_as_admin(database, "INSERT INTO pyledger.tenant (id, name) VALUES ($1, 'dev')", TENANT)
    history = await write_history(database)
    await archive(database, tmp_path)
    server = start_server(database)
    talker = Talker(server.url)

    await asyncio.to_thread(ask, talker, history)
    for name in history.names[:2]:
        await bring_back(database, tmp_path / name)
    again = await asyncio.to_thread(talker.post, "/v1/transfers", history.weeks[0][1])
    assert again.replayed
    assert (await asyncio.to_thread(talker.get, f"/v1/transfers/{history.weeks[0][1]['id']}")).status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
