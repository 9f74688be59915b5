"""Where the results of a study are kept: one SQLite file, written by one process, readable by all at any time.

A transaction is on the disk when it ends (``synchronous=FULL``), and the journal is a file that is deleted
(``journal_mode=DELETE``), which network file systems know, too. Whatever kills the writer, the next to open the file
finds every transaction whole or not there. docs/studies.md describes the tables.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyrank.studies.task import FORMAT
from pyrank.support.errors import invalid

FILE = "study.sqlite"
_ERRNO = {"FULL": errno.ENOSPC, "READONLY": errno.EACCES, "CANTOPEN": errno.EACCES, "PERM": errno.EACCES}
WAIT = 20.0
"""Seconds to wait for another process: a transaction takes far less."""

_SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cells (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    axes TEXT NOT NULL,
    function TEXT NOT NULL,
    parameters TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'done', 'failed')),
    seconds REAL,
    error TEXT,
    result TEXT,
    traceback TEXT,
    arrays BLOB
);
"""


@dataclass(frozen=True)
class Entry:
    """A cell as it is entered: its key, its place in the grid and its task as JSON."""

    key: str
    axes: str
    function: str
    parameters: str


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: a result as `pack` writes it, or an error in one line and its traceback.

    ``hidden`` tells that the cell is long, and that its worker could not see the folder, where it would have saved.
    """

    key: str
    seconds: float
    result: str | None = None
    arrays: bytes | None = None
    error: str | None = None
    traceback: str | None = None
    hidden: bool = False

    @classmethod
    def failed(cls, key: str, error: str) -> Outcome:
        """Return the outcome of a cell of which nothing but a line of error is known."""
        return cls(key, 0.0, error=error, traceback="")

    @property
    def status(self) -> str:
        """``"done"`` or ``"failed"``."""
        return "done" if self.error is None else "failed"


class Store:
    """The file of a study; each method opens it, and reading changes nothing. Where there is none, a study is empty.

    Raises
    ------
    ArgumentError
        If the file is none of pyrank's, damaged, or of a newer format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def frame(self) -> dict[str, Any]:
        """Return what all cells share, and what the study says of itself."""
        with self._reading() as connection:
            return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM study")}

    def statuses(self) -> dict[str, str]:
        """Return the status of each cell by its key, in the order in which they were entered."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT key, status FROM cells ORDER BY number"))

    def points(self) -> dict[str, str]:
        """Return the values of each cell on the axes, as JSON, in the order in which they were entered."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT key, axes FROM cells ORDER BY number"))

    def read(self, columns: str, status: str) -> Iterator[tuple[Any, ...]]:
        """Yield some columns of all cells of a status, in the order in which they were entered."""
        with self._reading() as connection:
            query = f"SELECT {columns} FROM cells WHERE status = ? ORDER BY number"  # noqa: S608, columns are ours
            yield from connection.execute(query, (status,))

    def result_of(self, key: str) -> tuple[str, bytes | None] | None:
        """Return the result of one cell, or None if there is none."""
        with self._reading() as connection:
            query = "SELECT result, arrays FROM cells WHERE key = ? AND status = 'done'"
            found: tuple[str, bytes | None] | None = connection.execute(query, (key,)).fetchone()
            return found

    def error_of(self, key: str) -> str | None:
        """Return the error of one cell in one line, or None if it has not failed."""
        with self._reading() as connection:
            found: tuple[str | None] | None = connection.execute(
                "SELECT error FROM cells WHERE key = ?", (key,)
            ).fetchone()
            return found[0] if found else None

    def enter(self, entries: Iterable[Entry], frame: Mapping[str, Any]) -> None:
        """Create the file if needed, and enter those cells that are not there yet.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO cells (key, axes, function, parameters) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET axes = excluded.axes WHERE axes != excluded.axes",
                ((entry.key, entry.axes, entry.function, entry.parameters) for entry in entries),
            )
            self._say(connection, frame)

    def put(self, outcomes: Iterable[Outcome], hidden: int = 0) -> None:
        """Keep what came of some cells, all in one transaction, and how many of those in work saved nothing.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self._writing("rw") as connection:
            connection.executemany(
                "UPDATE cells SET status = ?, seconds = ?, error = ?, result = ?, traceback = ?, arrays = ? "
                "WHERE key = ? AND status != 'done'",
                ((o.status, o.seconds, o.error, o.result, o.traceback, o.arrays, o.key) for o in outcomes),
            )
            self._say(connection, {"hidden": hidden})

    def merge(self, other: Store) -> None:
        """Take the cells of another file, and the results that are missing here, all in one transaction."""
        columns = "key, axes, function, parameters, status, seconds, error, result, traceback, arrays"
        with other._reading() as theirs, self._writing() as connection:
            connection.executemany(
                f"INSERT INTO cells ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608, columns are ours
                "ON CONFLICT (key) DO UPDATE SET status = excluded.status, seconds = excluded.seconds, "
                "error = excluded.error, result = excluded.result, traceback = excluded.traceback, "
                "arrays = excluded.arrays WHERE status != 'done' AND excluded.status != 'waiting'",
                theirs.execute(f"SELECT {columns} FROM cells ORDER BY number"),  # noqa: S608
            )

    def check(self) -> str:
        """Return what SQLite says of the file: ``"ok"``, if it is whole."""
        with self._reading() as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])

    @staticmethod
    def _say(connection: sqlite3.Connection, frame: Mapping[str, Any]) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO study VALUES (?, ?)", ((name, json.dumps(value)) for name, value in frame.items())
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        there = self.path.is_file() and self.path.stat().st_size
        with _told(self.folder), closing(self._open("ro") if there else sqlite3.connect(":memory:")) as connection:
            try:
                self._check_format(connection)
            except sqlite3.OperationalError:  # what a killed writer has left; to open it for writing is to tidy up
                with closing(self._open("rw")) as tidying:
                    _is_empty(tidying)
                self._check_format(connection)
            if _is_empty(connection):  # or its writer was killed before anything was in it
                with closing(sqlite3.connect(":memory:")) as nothing:
                    nothing.executescript(_SCHEMA)
                    yield nothing
            else:
                yield connection

    @contextmanager
    def _writing(self, mode: str = "rwc") -> Iterator[sqlite3.Connection]:
        with _told(self.folder), _as_os_error(self.path), closing(self._open(mode)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _is_empty(connection):
                    for statement in filter(str.strip, _SCHEMA.split(";\n")):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                self._check_format(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _open(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(str(self.path.resolve()))}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None)

    def _check_format(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            wanted = f"a study of format {FORMAT} at most, not {version}"
            raise invalid("folder", str(self.folder), wanted, "use the newer pyrank that wrote it")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say in one line that a file cannot be read."""
    try:
        yield
    except sqlite3.Error as error:
        wanted = f"a study ({FILE} cannot be read: {error})"
        raise invalid("folder", str(folder), wanted, "give another folder") from error


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """Let a disk that is full, and a file that may not be written, be told as they are elsewhere."""
    try:
        yield
    except sqlite3.OperationalError as error:
        number = _ERRNO.get(error.sqlite_errorname.split("_")[1], errno.EIO) if path.exists() else errno.ENOENT
        raise OSError(number, str(error), str(path)) from error
