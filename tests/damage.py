"""Databases as no process of ours leaves them behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def foreign(path: Path) -> None:
    """In its place stands the database of another program."""
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (a)")
    database.close()


def change(path: Path, statement: str) -> None:
    """Somebody ran *statement* on it."""
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
