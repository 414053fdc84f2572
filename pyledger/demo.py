"""`pyledger demo`: a shop's day against a running server, told step by step.

It opens its own accounts with fresh ids, so it can run any number of times on the same database. Guarded
here: every step is compared with what a shop's owner would expect, to the cent; anything off, a wrong balance
or books that do not balance, is named at the end and makes the exit code 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.table import Table

from pyledger.client import (
    Account,
    AccountFlags,
    Client,
    Conflict,
    Declined,
    Ledger,
    NewAccount,
    NewTransfer,
    Retry,
    Transfer,
    TransferFlags,
    Unavailable,
    new_id,
)

ASSET: Final = "EUR"
EXPONENT: Final = 2
FIRST_LEDGER: Final = 978
LEDGERS_TRIED_MAX: Final = 32
"""Numbers tried from 978 on, the euro's in ISO 4217, until one is free or is in euro cents already."""
HOLD_S: Final = 7 * 24 * 3_600
RETRY: Final = Retry(attempts_max=6, deadline_s=15.0)

WALLET: Final = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
ASSETS: Final = AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS
PLAN: Final[dict[str, tuple[int, AccountFlags, int | None]]] = {
    "Bank": (1_000, ASSETS, None),
    "Ada's wallet": (2_000, WALLET, None),
    "Ben's wallet": (2_000, WALLET, 2_000),
    "Cleo's wallet": (2_000, WALLET, None),
    "Shop": (3_000, WALLET, None),
    "Fees": (4_000, WALLET, None),
}
"""The chart of accounts: code, limit, and in cents how far the account may be overdrawn."""

CLOSING_CENTS: Final = {
    "Bank": 9_276, "Ada's wallet": 5_450, "Ben's wallet": 2_000, "Cleo's wallet": 1_200, "Shop": 600, "Fees": 26,
}  # fmt: skip
"""What each account must come to, seen from its own side."""


def cents(amount: int) -> str:
    """An amount in euros, without a float."""
    sign, amount = "-" if amount < 0 else "", abs(amount)
    return f"{sign}{amount // 100:,}.{amount % 100:02d}"


@dataclass
class Day:
    """The shop's day: what was done, and what was not as expected."""

    client: Client
    say: Console
    ledger: int = 0
    accounts: dict[str, UUID] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def tell(self, text: str, **facts: Any) -> None:
        """Print one step, and keep it for --json."""
        self.steps.append({"step": len(self.steps) + 1, "text": text, **facts})
        self.say.print(f"{len(self.steps):>2}. {text}", highlight=False)

    def expect(self, condition: bool, otherwise: str) -> None:
        """Note what is off."""
        if not condition:
            self.wrong.append(otherwise)
            self.say.print(f"    [red]WRONG:[/red] {otherwise}", highlight=False)

    def told(self, text: str, transfer: Transfer, moved: int) -> Transfer:
        """Print a transfer that was accepted, and check what it moved."""
        self.tell(text, id=str(transfer.id), kind=transfer.kind, amount=str(transfer.amount))
        self.expect(transfer.amount == moved, f"{text}: moved {cents(transfer.amount)}, not {cents(moved)}")
        return transfer

    async def open(self) -> None:
        """Open the ledger and the accounts."""
        ledger = await self._own_ledger()
        self.ledger = ledger.id
        new = {
            name: NewAccount(ledger=ledger.id, code=code, flags=flags, allowance=allowance, metadata={"name": name})
            for name, (code, flags, allowance) in PLAN.items()
        }
        reply = await self.client.create_accounts(list(new.values()))
        self.accounts = {name: account.id for name, account in new.items()}
        self.tell(f"The books are opened: ledger {ledger.id} in {ASSET}, {len(new)} accounts.", ledger=ledger.id)
        self.expect(reply.accepted == len(new), f"only {reply.accepted} of {len(new)} accounts were opened")

    async def _own_ledger(self) -> Ledger:
        for number in range(FIRST_LEDGER, FIRST_LEDGER + LEDGERS_TRIED_MAX):
            try:
                return await self.client.create_ledger(number, ASSET, EXPONENT, metadata={"opened_by": "demo"})
            except Conflict:
                continue
        raise RuntimeError(f"ledgers {FIRST_LEDGER} to {number} are all in use for something else")

    async def pay(self, debit: str, credit: str, amount: int, **more: Any) -> Transfer:
        """Move or hold an amount between two accounts by name."""
        return await self.client.transfer(
            self.accounts[debit], self.accounts[credit], amount, ledger=self.ledger, **more
        )

    async def funding(self) -> None:
        """Customers pay money in; it is at the bank, and owed to them."""
        for who, amount in (("Ada", 10_000), ("Ben", 5_000), ("Cleo", 2_000)):
            paid = await self.pay("Bank", f"{who}'s wallet", amount, code=10, reference=f"top-up-{who.lower()}")
            self.told(f"{who} tops up {cents(amount)}.", paid, amount)

    async def cards(self) -> None:
        """Authorizations hold money; captures move it, in part or in full; a void lets go of it."""
        hold = TransferFlags.PENDING
        ada = await self.pay("Ada's wallet", "Shop", 6_000, code=20, flags=hold, timeout_s=HOLD_S)
        self.told(f"Ada's card is authorized for {cents(6_000)}: held, not moved.", ada, 6_000)
        left = ada.debit_account.available if ada.debit_account else -1
        self.expect(left == 4_000, f"Ada should have {cents(4_000)} left to spend, not {cents(left)}")
        ben = await self.pay("Ben's wallet", "Shop", 3_000, code=20, flags=hold, timeout_s=HOLD_S)
        self.told(f"Ben's card is authorized for {cents(3_000)}.", ben, 3_000)
        cleo = await self.pay("Cleo's wallet", "Shop", 1_500, code=20, flags=hold, timeout_s=HOLD_S)
        self.told(f"Cleo's card is authorized for {cents(1_500)}.", cleo, 1_500)

        self.told("One of Ada's items is sold out: the shop captures 45.50 of 60.00, the rest is released.",
                  await self.client.post(ada.id, 4_550), 4_550)  # fmt: skip
        sale = self.told("Ben's order is shipped: captured in full.", await self.client.post(ben.id), 3_000)
        self.told("Cleo changes her mind: her authorization is voided.", await self.client.void(cleo.id), 1_500)
        self.told("Ben sends a part back: 10.00 are refunded, tied to his payment.",
                  await self.client.reverse(sale.id, 1_000, reference="return-ben"), 1_000)  # fmt: skip
        await self._too_much_back(sale.id)

    async def _too_much_back(self, sale: UUID) -> None:
        try:
            await self.client.reverse(sale, 2_001)
        except Declined as no:
            self.tell(f"Refunding more than is left of it is declined: {no.code}.", refusal=no.code)
            self.expect(no.code == "exceeds_reversible_amount", f"declined for another reason: {no.code}")
        else:
            self.expect(False, "a refund of more than was paid went through")

    async def sale_with_fee(self) -> None:
        """A sale and its fee, linked: both or neither."""
        wallet, shop, fees = (self.accounts[name] for name in ("Cleo's wallet", "Shop", "Fees"))
        linked = TransferFlags.LINKED
        sale = NewTransfer(
            debit_account_id=wallet, credit_account_id=shop, amount=800, ledger=self.ledger, code=30, flags=linked
        )
        fee = NewTransfer(debit_account_id=shop, credit_account_id=fees, amount=26, ledger=self.ledger, code=31)
        reply = await self.client.transfers([sale, fee])
        self.tell("Cleo buys for 8.00 after all; sale and fee of 0.26 are linked: both or neither.",
                  accepted=reply.accepted)  # fmt: skip
        self.expect(reply.accepted == 2, f"{reply.accepted} of the two took effect")

    async def decline_and_retries(self) -> None:
        """A decline is recorded, and every retry gets the first answer, word for word."""
        too_much, answers = new_id(), []
        for _ in range(2):
            try:
                await self.pay("Cleo's wallet", "Shop", 2_500, code=20, id=too_much)
            except Declined as no:
                answers.append(no)
        self.expect(len(answers) == 2, "Cleo spent more than she has")
        if len(answers) == 2:
            first, second = answers
            self.tell(f"Cleo tries to pay 25.00 with 12.00: declined, {first.code}.", refusal=first.code)
            self.tell(
                "Her phone tries again with the same id: the same answer, nothing new is recorded.", replayed=True
            )
            same = (first.code, first.recorded_at) == (second.code, second.recorded_at)
            self.expect(same and second.replayed and not first.replayed, "the retry got another answer")

        once = new_id()
        first_time = await self.pay("Ben's wallet", "Shop", 1_000, code=20, id=once)
        second_time = await self.pay("Ben's wallet", "Shop", 1_000, code=20, id=once)
        self.told("Ben pays 10.00; the reply is lost, so his phone sends it again: he pays once.", second_time, 1_000)
        same = (
            first_time.recorded_at == second_time.recorded_at and first_time.debit_account == second_time.debit_account
        )
        self.expect(same and second_time.replayed, "the retry was taken for a second payment")

    async def payout(self) -> None:
        """The shop gets its money: what is not held of it, less what it leaves for returns."""
        self.told(
            "The shop is paid out 77.24 to its bank account.", await self.pay("Shop", "Bank", 7_724, code=40), 7_724
        )

    async def close(self) -> list[tuple[str, Account]]:
        """Read every account and compare it with what it must come to."""
        books = [(name, await self.client.account(each)) for name, each in self.accounts.items()]
        for name, account in books:
            self.expect(account.balances.posted == CLOSING_CENTS[name],
                        f"{name} is at {cents(account.balances.posted)}, not {cents(CLOSING_CENTS[name])}")  # fmt: skip
            self.expect(account.balances.pending == 0, f"{name} still has {cents(account.balances.pending)} held")
        debited, credited = totals(books)
        self.expect(debited == credited, f"debits {cents(debited)} are not credits {cents(credited)}")
        return books


def totals(books: list[tuple[str, Account]]) -> tuple[int, int]:
    """Debits and credits posted, over all accounts."""
    all_balances = [each.balances for _, each in books]
    return sum(each.debits_posted for each in all_balances), sum(each.credits_posted for each in all_balances)


def trial_balance(books: list[tuple[str, Account]], ledger: int) -> Table:
    """The trial balance as a table: whoever reads it can add it up."""
    table = Table(title=f"Trial balance, ledger {ledger}, {ASSET}", title_justify="left", show_footer=True)
    debited, credited = totals(books)
    table.add_column("account", "total")
    table.add_column("debits", cents(debited), justify="right")
    table.add_column("credits", cents(credited), justify="right")
    table.add_column("balance", justify="right")
    for name, account in books:
        own = account.balances
        side = "debit" if "credits_must_not_exceed_debits" in account.flags else "credit"
        table.add_row(name, cents(own.debits_posted), cents(own.credits_posted), f"{cents(own.posted)} {side}")
    return table


def as_document(day: Day, books: list[tuple[str, Account]]) -> dict[str, Any]:
    """The day for a program to read; amounts are strings of cents."""
    debited, credited = totals(books)
    accounts = [
        {
            "account": name,
            "id": str(each.id),
            "debits": str(each.balances.debits_posted),
            "credits": str(each.balances.credits_posted),
            "posted": str(each.balances.posted),
        }
        for name, each in books
    ]
    return {
        "ledger": day.ledger,
        "steps": day.steps,
        "wrong": day.wrong,
        "debits": str(debited),
        "credits": str(credited),
        "balanced": debited == credited,
        "trial_balance": accounts,
    }


async def run(url: str, key: str | None, *, as_json: bool = False) -> int:
    """Run the day against the server at `url`; 0 if everything was as expected, else 1."""
    console = Console(quiet=as_json, soft_wrap=True)
    async with Client(url, key, retry=RETRY) as client:
        day = Day(client, console)
        try:
            await day.open()
            await day.funding()
            await day.cards()
            await day.sale_with_fee()
            await day.decline_and_retries()
            await day.payout()
            books = await day.close()
        except Unavailable as error:
            raise ConnectionError(f"no answer from {url}: {error.detail}") from error
    debited, credited = totals(books)
    if as_json:
        print(json.dumps(as_document(day, books)))
    else:
        console.print()
        console.print(trial_balance(books, day.ledger))
        console.print("Debits equal credits." if debited == credited else "[red]Debits do not equal credits.[/red]")
        if day.wrong:
            console.print(f"[red]{len(day.wrong)} things were not as expected.[/red]")
    return 1 if day.wrong else 0
