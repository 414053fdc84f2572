"""The client's view of the past, against a real server."""

from __future__ import annotations

import pytest

from pyledger.client import AccountFlags, Client, NotFound, Statements, TransferFlags, nanoseconds
from tests.support.process import ServerProcess


async def test_moments_statements_and_trial_balances(server: ServerProcess) -> None:
    async with Client(server.url) as client:
        await client.create_ledger(1, "EUR", 2)
        bank = await client.create_account(1, code=10)
        ada = await client.create_account(
            1, code=20, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, reference="ada"
        )
        past = Statements(client)
        moved = [await client.transfer(bank.id, ada.id, amount, ledger=1, reference="r") for amount in (100, 20, 3)]
        await client.transfer(ada.id, bank.id, 50, ledger=1, flags=TransferFlags.PENDING)
        dated = await client.transfer(ada.id, bank.id, 7, ledger=1, effective_ns=nanoseconds("2020-01-02T00:00:00Z"))
        times = [nanoseconds(each.recorded_at) for each in moved]

        then = await past.account(ada.id, times[1])
        assert (then.balances.posted, then.balances.available, then.as_of, then.reference) == (
            120, 120, moved[1].recorded_at, "ada"
        )  # fmt: skip
        late = await past.account(ada.id, 2**62)
        assert (late.balances.posted, late.balances.available) == (116, 66)
        assert (await past.account(ada.id, nanoseconds("2020-01-03T00:00:00Z"), by="effective")).balances.posted == -7
        with pytest.raises(NotFound):
            await past.account(ada.id, 0)

        whole = await past.statement(ada.id)
        assert [row.amount for row in whole.data] == [100, 20, 3, 7]
        assert (whole.opening.posted, whole.closing.posted, whole.credits, whole.debits) == (0, 116, 123, 7)
        pages = [page async for page in past.pages(ada.id, holds=True, page_rows=2)]
        assert [row.amount for page in pages for row in page.data] == [100, 20, 3, 50, 7]
        part = await past.statement(ada.id, since_ns=times[1], until_ns=times[2])
        assert [row.id for row in part.data] == [moved[1].id]
        assert (part.opening.posted, part.closing.posted) == (100, 120)
        by_date = await past.statement(ada.id, by="effective")
        assert [row.id for row in by_date.data] == [dated.id, *(each.id for each in moved)]
        assert (await past.document(ada.id, "csv")).count(b"\r\n") == 7
        assert b"<h1>Account statement</h1>" in await past.document(ada.id, "html")

        trial = await past.trial_balance(1)
        assert [(sums.code, sums.debits_posted, sums.credits_posted) for sums in trial.codes] == [
            (10, 123, 7), (20, 7, 123)
        ]  # fmt: skip
        assert (await past.trial_balance(1, times[0])).totals.debits_posted == 100
