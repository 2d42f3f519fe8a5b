"""Builds and rebuilds an embedding's HNSW index while the shop goes on reading and writing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from django.db import DatabaseError, connections

from cardigan_reco import database
from cardigan_reco.database import INSUFFICIENT_PRIVILEGE, IndexState
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.fields import EmbeddingIndex
from cardigan_reco.models import Embedding

from . import needs, resources
from .health import Health, health
from .session import Listener, Session

CLEANING_SECONDS = 10
"""How long a broken-off build may wait for others before it leaves its rest to the next one."""


@dataclass(frozen=True)
class Built:
    """What was done to an index."""

    name: str
    action: str
    """ "kept": it was there and valid; "built" or "rebuilt"."""
    seconds: float
    bytes: int
    bytes_before: int
    """0 where there was none."""
    dropped: tuple[str, ...]
    """What broken-off builds had left behind."""


def build(
    embedding: type[Embedding],
    index: EmbeddingIndex,
    *,
    using: str,
    memory_bytes: int | None = None,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Built:
    """Builds an index that isn't there or is invalid, with CREATE INDEX CONCURRENTLY.

    What a broken-off build or rebuild left behind is dropped first. `memory_bytes` is
    maintenance_work_mem, by default what the graph needs up to 1 GiB; `workers` is
    max_parallel_maintenance_workers, by default the server's.

    Raises IndexProblem in a transaction, without the table, the right to or the room for it, when
    another build runs, and when the server breaks it off; Locked when somebody has the table for
    himself. Whatever ends it early, the half-built index is dropped, or by the next build if that
    can't be done.
    """
    with _work(embedding, index, using, memory_bytes, workers, listener) as work:
        return work.build()


def rebuild(
    embedding: type[Embedding],
    index: EmbeddingIndex,
    *,
    using: str,
    memory_bytes: int | None = None,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Built:
    """Replaces an index by a new one, then vacuums the table, which is fast after that.

    The old index serves until the new one is complete, and stays if anything goes wrong. An index
    that isn't valid is built. Otherwise as build().
    """
    with _work(embedding, index, using, memory_bytes, workers, listener) as work:
        return work.rebuild()


@contextmanager
def _work(
    embedding: type[Embedding],
    index: EmbeddingIndex,
    using: str,
    memory: int | None,
    workers: int | None,
    listener: Listener | None,
) -> Iterator[_Work]:
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        raise IndexProblem(
            "An index can't be built inside a transaction, for which it would wait forever. Call "
            "it outside atomic() and outside migrations, such as by manage.py build_index."
        )
    if health(embedding, using=using).state is IndexState.NO_TABLE:
        raise IndexProblem(
            f"Table {embedding._meta.db_table} of {embedding._meta.label} is not in database "
            f"{using!r}: run migrate --database {using}."
        )
    listener = listener or Listener()
    table = connection.ops.quote_name(embedding._meta.db_table)
    with Session(using, listener) as session, session.locked(table, embedding._meta.label):
        yield _Work(embedding, index, session, listener, memory, workers)


class _Notes(Listener):
    """Passes on what is noted, and no progress: that may be what raised and ended the build."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def note(self, text: str) -> None:
        self._listener.note(text)


@dataclass
class _Work:
    """The statements of a build, on a locked table."""

    embedding: type[Embedding]
    index: EmbeddingIndex
    session: Session
    listener: Listener
    memory: int | None
    workers: int | None
    start: float = field(default_factory=time.monotonic)

    def build(self) -> Built:
        dropped = self._clean()
        match self._state():
            case IndexState.VALID:
                return self._built("kept", dropped)
            case IndexState.OTHER_OPERATOR:
                raise IndexProblem(
                    f"{self.index.name} is another kind of index of {self.embedding._meta.label}, "
                    "which no search uses. Run "
                    f"DROP INDEX CONCURRENTLY {self._quoted(self.index.name)}; and build again."
                )
        editor = connections[self.session.using].schema_editor(collect_sql=True)
        self._run(str(self.index.create_sql(self.embedding, editor, concurrently=True)))
        return self._built("built", dropped)

    def rebuild(self) -> Built:
        if self._state() is not IndexState.VALID:
            built = self.build()
            self._vacuum()
            return built
        dropped = self._clean()
        before = self._bytes()
        self._run(f"REINDEX INDEX CONCURRENTLY {self._quoted(self.index.name)}")
        self._vacuum()
        return self._built("rebuilt", dropped, before)

    def _run(self, sql: str) -> None:
        memory = self.memory
        if memory is None:
            m = self.index.m or needs.DEFAULT_M
            memory = resources.memory_bytes(self._health(), m, self.session, self.listener)
        workers = resources.workers(self.workers, memory, self.session, self.listener)
        try:
            try:
                self._try(sql, memory, workers)
            except DatabaseError as error:
                if not workers or not resources.is_lack_of_shared_memory(error):
                    raise
                self.listener.note(
                    f"The server's {needs.SHARED_MEMORY} can't hold "
                    f"{resources.mebibytes(memory)} for parallel workers (containers: --shm-size). "
                    "Building without them."
                )
                self._try(sql, memory, 0)
        except DatabaseError as error:
            raise self._problem(error) from error

    def _try(self, sql: str, memory: int, workers: int) -> None:
        self.session.ask(f"SET maintenance_work_mem = '{memory // 1024}kB'")
        self.session.ask(f"SET max_parallel_maintenance_workers = {workers}")
        try:
            self.session.run(sql)
        except BaseException:
            self._clean_after()
            raise

    def _vacuum(self) -> None:
        table = self.embedding._meta.db_table
        try:
            self.session.run(f"VACUUM (ANALYZE) {self._quoted(table)}")
        except DatabaseError as error:
            problem = f"The index is there, but VACUUM of {table} failed: {error}"
            raise IndexProblem(problem) from error

    def _clean(self) -> tuple[str, ...]:
        """Drops what broken-off builds have left; returns its names."""
        seen = self._health()
        if (locking := seen.locking_build) is not None:
            raise IndexProblem(
                f"Process {locking.pid} of the server builds an index of "
                f"{self.embedding._meta.label}, without CONCURRENTLY. Wait for it, or end it, and "
                "see by index_report what is missing then."
            )
        there = seen.indexes
        if building := [found.name for found in there if found.building is not None]:
            raise IndexProblem(
                f"Index {building[0]} of {self.embedding._meta.label} is being built by somebody "
                "else. index_report shows how far it is."
            )
        left = [
            found.name
            for found in there
            if found.is_leftover
            or (found.name == self.index.name and found.state is IndexState.INVALID)
        ]
        for name in left:
            try:
                self.session.run(f"DROP INDEX CONCURRENTLY IF EXISTS {self._quoted(name)}")
            except DatabaseError as error:
                raise self._problem(error) from error
        return tuple(left)

    def _clean_after(self) -> None:
        """Tries to drop what this build leaves, on a connection of its own: ours may be gone."""
        try:
            with Session(self.session.using, _Notes(self.listener)) as session:
                session.ask(f"SET statement_timeout = '{CLEANING_SECONDS}s'")
                dropped = replace(self, session=session)._clean()
        except (DatabaseError, IndexProblem):
            self.listener.note(
                "What is left of the build could not be dropped. The next build does it; until "
                "then it costs writes some time, and searches nothing."
            )
        else:
            for name in dropped:
                self.listener.note(f"The half-built index {name} was dropped.")

    def _built(self, action: str, dropped: tuple[str, ...], before: int = 0) -> Built:
        seconds = time.monotonic() - self.start
        return Built(self.index.name, action, seconds, self._bytes(), before, dropped)

    def _problem(self, error: DatabaseError) -> IndexProblem:
        name, label = self.index.name, self.embedding._meta.label
        if getattr(error.__cause__, "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
            [(user,)] = self.session.ask("SELECT current_user")
            return IndexProblem(
                f"User {user!r} may not build {name}: only the owner of "
                f"{self.embedding._meta.db_table} may, with the right to CREATE in its schema. Run "
                "the command as that user, or as a role that is a member of it."
            )
        return IndexProblem(f"Index {name} of {label} was not built: {str(error).strip()}")

    def _health(self) -> Health:
        return health(self.embedding, using=self.session.using)

    def _state(self) -> IndexState:
        table = self.embedding._meta.db_table
        return database.index_state(table, self.index.name, self.session.using)

    def _bytes(self) -> int:
        return sum(it.bytes for it in self._health().indexes if it.name == self.index.name)

    def _quoted(self, name: str) -> str:
        return connections[self.session.using].ops.quote_name(name)
