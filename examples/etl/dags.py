"""Loads the CSV files of a folder into a database: extract, transform, load.

What a task returns is passed to the next one, as the type that its parameter names. That is meant for up to
1 MiB; for more, let a task write a file and pass its path.
"""

import csv
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import ppacer
from ppacer import Dag, TaskContext, task
from ppacer.schedule import Cron

COLUMNS = ["id", "day", "shop", "product", "quantity", "price"]
SALES = """CREATE TABLE IF NOT EXISTS sales (id INTEGER PRIMARY KEY, day TEXT, shop TEXT, product TEXT,
    quantity INTEGER, cents INTEGER, exec_ts TEXT)"""
BAD_ROWS = "CREATE TABLE IF NOT EXISTS bad_rows (exec_ts TEXT, file TEXT, line INTEGER, problem TEXT)"
# The condition at the end: an old run that is restarted does not bring back what a newer one has replaced.
UPSERT = """INSERT INTO sales VALUES (:id, :day, :shop, :product, :quantity, :cents, :exec_ts)
    ON CONFLICT (id) DO UPDATE SET day = excluded.day, shop = excluded.shop, product = excluded.product,
    quantity = excluded.quantity, cents = excluded.cents, exec_ts = excluded.exec_ts
    WHERE excluded.exec_ts >= sales.exec_ts"""


@dataclass
class Params:
    """What a run that is started by hand may choose; scheduled runs take these defaults."""

    folder: str = str(Path(__file__).parent / "data")
    database: str = "sales.db"
    strict: bool = False  # one bad row fails the run, instead of being set aside


@dataclass
class Row:
    """A row as it stands in a file, and what is wrong with it."""

    file: str
    line: int
    cells: list[str]
    problem: str = ""


@dataclass
class Sale:
    """A row that is right."""

    id: int
    day: date
    shop: str
    product: str
    quantity: int
    cents: int


@dataclass
class Checked:
    sales: list[Sale]
    bad: list[Row]


@task
def extract(ctx: TaskContext) -> list[Row]:
    """All rows of all files of the folder; a file with other columns is none of ours, and an error."""
    folder = Path(ctx.run.params.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    rows: list[Row] = []
    for file in sorted(folder.glob("*.csv")):
        with open(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            if (header := next(reader, [])) != COLUMNS:
                raise ValueError(f"{file} has the columns {header}; they must be {COLUMNS}")
            rows += [Row(file.name, reader.line_num, cells) for cells in reader if cells]
    ctx.logger.info("%d rows in %s", len(rows), folder)
    return rows


@task
def transform(ctx: TaskContext, rows: list[Row]) -> Checked:
    """Divides the rows into sales and bad rows; `strict` allows no bad ones."""
    sales: dict[int, Sale] = {}
    bad: list[Row] = []
    for row in rows:
        try:
            sale = sale_of(row.cells)
            if sales.setdefault(sale.id, sale) != sale:
                raise ValueError(f"id {sale.id} stands for another sale already")
        except ValueError as error:
            ctx.logger.warning("%s line %d: %s", row.file, row.line, error)
            bad.append(Row(row.file, row.line, row.cells, str(error)))
    if bad and ctx.run.params.strict:
        raise ValueError(f"{len(bad)} of {len(rows)} rows are bad, so nothing is loaded; see the log")
    return Checked(list(sales.values()), bad)


@task
def load(ctx: TaskContext, checked: Checked) -> dict[str, int]:
    """Everything or nothing, in one transaction; once more for the same execution time changes nothing."""
    at = f"{ctx.run.exec_ts:%Y-%m-%dT%H:%M:%S.%fZ}"
    sales = [{**vars(sale), "day": str(sale.day), "exec_ts": at} for sale in checked.sales]
    bad = [(at, row.file, row.line, row.problem) for row in checked.bad]
    with closing(sqlite3.connect(ctx.run.params.database, isolation_level=None, timeout=60)) as db, db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(SALES)
        db.execute(BAD_ROWS)
        db.executemany(UPSERT, sales)
        db.execute("DELETE FROM bad_rows WHERE exec_ts = ?", [at])
        db.executemany("INSERT INTO bad_rows VALUES (?, ?, ?, ?)", bad)
    return {"loaded": len(checked.sales), "bad": len(checked.bad)}


def sale_of(cells: list[str]) -> Sale:
    """The sale in a row; ValueError says what is wrong."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"it has {len(cells)} cells, not {len(COLUMNS)}")
    id, day, shop, product, quantity, price = (cell.strip() for cell in cells)
    if not shop or not product:
        raise ValueError("shop or product is empty")
    try:
        cents = Decimal(price) * 100
    except InvalidOperation:
        raise ValueError(f"price {price!r} is not a number") from None
    if not cents.is_finite() or cents < 0 or cents % 1 or int(quantity) < 1:
        raise ValueError(f"{quantity} for {price} is not possible")
    return Sale(int(id), date.fromisoformat(day), shop, product, int(quantity), int(cents))


with Dag("etl", schedule=Cron("*/15 * * * *"), params=Params, tags=["example"]) as etl:
    load(transform(extract()))

if __name__ == "__main__":
    ppacer.serve(etl)
