"""The stories of docs/stories run, and their committed output is what they print.

PYLEDGER_TEST_STORIES=write writes the output down instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.server.talk import Talker
from tests.support.clusters import Database
from tests.support.process import ServerProcess
from tests.support.stories import STORIES, Teller, psql, psql_of

SQL_PAGE = (Path(__file__).resolve().parent.parent / "docs" / "SQL.md").read_text("utf-8")
ANALYST = "shop_analyst"
both = pytest.mark.postgres(15, 18)


@pytest.fixture
def told(database: Database) -> Database:
    """A database, if there is a psql to look at it with."""
    if not psql_of(database).exists():
        pytest.skip("this PostgreSQL came without psql")
    return database


@pytest.fixture
def analyst(told: Database) -> Iterator[str]:
    """How a role connects that may do nothing at all; roles are the cluster's, so it is dropped again."""
    psql(told, told.admin_dsn, f"CREATE ROLE {ANALYST} LOGIN;")
    yield told.postgres.dsn(ANALYST, told.name)
    psql(told, told.admin_dsn, f"DROP OWNED BY {ANALYST}; DROP ROLE {ANALYST};")


@both
def test_stories_print_what_is_committed(start_server: Callable[..., ServerProcess], told: Database) -> None:
    """All against one server, so that each also sees the others' books beside its own."""
    assert {path.name for path in STORIES} == set(re.findall(r"\(stories/(\S+)\)", SQL_PAGE))
    teller = Teller(told, Talker(start_server(told).url))
    for path in STORIES:
        committed = path.read_text("utf-8")
        printed = teller.tell(committed)
        if os.environ.get("PYLEDGER_TEST_STORIES") == "write":
            path.write_text(printed, "utf-8")
        assert printed == committed, f"{path.name} prints something else; PYLEDGER_TEST_STORIES=write writes it down"


@both
def test_an_analyst_of_one_tenant_sees_nothing_of_another(told: Database, analyst: str) -> None:
    """Not by asking, and not by a function of one's own that is asked about every row."""
    query, recipe = re.findall(r"^```sql\n(.*?)^```", SQL_PAGE, re.MULTILINE | re.DOTALL)
    rows = ", ".join(f"(0, {n}, {n}, '{UUID(int=n)}', 1, 1, 2, 0, 0, 0, 0, {n}, 1, 0, 0)" for n in (1, 2))
    psql(told, told.admin_dsn, f"INSERT INTO pyledger.tenant VALUES (1, 'shop'), (2, 'other');"
        f"INSERT INTO pyledger.account VALUES {rows};")  # fmt: skip
    assert "(2 rows)" in psql(told, told.reader_dsn, query)
    psql(told, told.owner_dsn, recipe)
    assert "(1 row)" in psql(told, analyst, query.replace("path = pyledger", "path = shop, pyledger"))
    spy = (
        "CREATE FUNCTION pg_temp.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
        " 'BEGIN RAISE EXCEPTION ''seen: %'', $1; END';\nSELECT * FROM shop.accounts WHERE tenant <> 'shop' AND"
        " pg_temp.spy(tenant);"
    )
    assert "(0 rows)" in psql(told, analyst, spy)
    for view in ("pyledger.accounts", "pyledger.recent", "pyledger.journal", "pyledger.tenant"):
        with pytest.raises(AssertionError, match="permission denied"):
            psql(told, analyst, f"SELECT * FROM {view};")
