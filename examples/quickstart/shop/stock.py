"""Stock kept in SQLite, in a file or in memory."""

import sqlite3


class Stock:
    def __init__(self, path: str = ":memory:") -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute("create table if not exists stock (name text primary key, n int)")

    def receive(self, name: str, n: int) -> None:
        self.connection.execute(
            "insert into stock values (?, ?) on conflict (name) do update set n = n + excluded.n",
            (name, n),
        )

    def sell(self, name: str, n: int = 1) -> None:
        changed = self.connection.execute(
            "update stock set n = n - ? where name = ? and n >= ?", (n, name, n)
        ).rowcount
        if changed == 0:
            raise LookupError(f"not enough of {name}")

    def count(self, name: str) -> int:
        row = self.connection.execute("select n from stock where name = ?", (name,)).fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        self.connection.close()
