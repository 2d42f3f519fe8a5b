"""Builds and rebuilds an embedding's HNSW index while the shop goes on reading and writing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cardigan_reco import database
from cardigan_reco.database import INSUFFICIENT_PRIVILEGE, IndexState
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.fields import EmbeddingIndex
from cardigan_reco.models import Embedding

from . import needs
from .health import Health, declared, health
from .session import Listener, Session

DEFAULT_MEMORY_BYTES = 2**30
"""What a build takes at most unless it is told otherwise."""
CLEANING_SECONDS = 10
"""How long a broken-off build may wait for others before it leaves its rest to the next one."""
OUT_OF_SPACE = "53100"


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


def chosen(embedding: type[Embedding], *, using: str, **options: object) -> list[EmbeddingIndex]:
    """Returns the indexes that the embedding should have: those in its Meta.

    A model without any, because its encoder is only being introduced, gets one by the options of
    EmbeddingIndex (`name`, `m`, `ef_construction`; None stands for the default) or else the one
    that it got before. Raises IndexProblem for options beside a Meta.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if own := declared(embedding):
        if given:
            raise IndexProblem(
                f"{embedding._meta.label} declares {', '.join(index.name for index in own)} in its "
                f"Meta, which leaves no choice of {', '.join(given)}. Change it there."
            )
        return own
    built = health(embedding, using=using).serving
    if built is not None and "name" not in given:
        given["name"] = built.name
    index = EmbeddingIndex(fields=["vector"], **given)
    if not index.name:
        index.set_name_with_model(embedding)  # The name that Meta would give it.
    return [index]


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
    another build runs, and when the server breaks it off. Whatever ends it early, the half-built
    index is dropped, or by the next build if that can't be done.
    """
    with _work(embedding, using, listener) as work:
        return work.build(index, memory_bytes, workers)


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
    with _work(embedding, using, listener) as work:
        return work.rebuild(index, memory_bytes, workers)


@contextmanager
def _work(embedding: type[Embedding], using: str, listener: Listener | None) -> Iterator[_Work]:
    listener = listener or Listener()
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        raise IndexProblem(
            "An index can't be built inside a transaction, for which it would wait forever. Call "
            "it outside atomic() and outside migrations, such as by manage.py build_index."
        )
    state = health(embedding, using=using)
    if state.state is IndexState.NO_TABLE:
        raise IndexProblem(
            f"Table {embedding._meta.db_table} of {embedding._meta.label} is not in database "
            f"{using!r}: run migrate --database {using}."
        )
    table = connection.ops.quote_name(embedding._meta.db_table)
    with Session(using, listener) as session, session.locked(table, embedding._meta.label):
        yield _Work(embedding, connection, session, listener)


class _Work:
    """The statements, on one locked table."""

    def __init__(
        self,
        embedding: type[Embedding],
        connection: BaseDatabaseWrapper,
        session: Session,
        listener: Listener,
    ) -> None:
        self.embedding = embedding
        self.connection = connection
        self.session = session
        self.listener = listener
        self.table = connection.ops.quote_name(embedding._meta.db_table)

    def build(self, index: EmbeddingIndex, memory: int | None, workers: int | None) -> Built:
        dropped = self._clean(index.name)
        match self._state(index.name):
            case IndexState.VALID:
                return self._done(index, "kept", time.monotonic(), 0, dropped)
            case IndexState.OTHER_OPERATOR:
                raise IndexProblem(
                    f"{index.name} is another kind of index of {self.embedding._meta.label}, "
                    "which no search uses. Run "
                    f"DROP INDEX CONCURRENTLY {self._quoted(index.name)}; and build again."
                )
        editor = self.connection.schema_editor(collect_sql=True)
        sql = str(index.create_sql(self.embedding, editor, concurrently=True))
        start = time.monotonic()
        self._run(sql, index, memory, workers)
        return self._done(index, "built", start, 0, dropped)

    def rebuild(self, index: EmbeddingIndex, memory: int | None, workers: int | None) -> Built:
        if self._state(index.name) is not IndexState.VALID:
            built = self.build(index, memory, workers)
            self._vacuum()
            return built
        dropped = self._clean(index.name)
        before = self._bytes(index.name)
        start = time.monotonic()
        sql = f"REINDEX INDEX CONCURRENTLY {self._quoted(index.name)}"
        self._run(sql, index, memory, workers)
        self._vacuum()
        return self._done(index, "rebuilt", start, before, dropped)

    def _run(
        self, sql: str, index: EmbeddingIndex, memory: int | None, workers: int | None
    ) -> None:
        state = self._health()
        if memory is None:
            memory = self._memory(state, index)
        workers = self._workers(memory, workers)
        try:
            self._try(sql, memory, workers)
        except DatabaseError as error:
            self._clean_after(index.name)
            if not (workers and _sqlstate(error) == OUT_OF_SPACE and "shared memory" in str(error)):
                raise self._problem(index, error) from error
            self.listener.note(
                f"The server's {needs.SHARED_MEMORY} can't hold {_mebibytes(memory)} for parallel "
                "workers (containers: --shm-size). Building without them."
            )
        except BaseException:
            self._clean_after(index.name)
            raise
        else:
            return
        self._run(sql, index, memory, 0)

    def _try(self, sql: str, memory: int, workers: int) -> None:
        self.session.ask(f"SET maintenance_work_mem = '{memory // 1024}kB'")
        self.session.ask(f"SET max_parallel_maintenance_workers = {workers}")
        self.session.run(sql)

    def _memory(self, state: Health, index: EmbeddingIndex) -> int:
        [(own,)] = self.session.ask("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")
        graph = needs.memory_bytes(state.rows, state.dimensions, index.m or needs.DEFAULT_M)
        needed = graph * 11 // 10
        if needed > max(own, DEFAULT_MEMORY_BYTES):
            self.listener.note(
                f"The graph needs about {_mebibytes(needed)} and gets "
                f"{_mebibytes(max(own, DEFAULT_MEMORY_BYTES))}; a build that doesn't fit takes "
                "several times as long. If the server has the memory, say so with --memory."
            )
        return max(int(own), min(needed, DEFAULT_MEMORY_BYTES))

    def _workers(self, memory: int, workers: int | None) -> int:
        if workers is None:
            [(text,)] = self.session.ask("SHOW max_parallel_maintenance_workers")
            workers = int(text)
        shared = needs.shared_memory_bytes(self.connection.alias)
        if workers and shared is not None and shared < memory:
            self.listener.note(
                f"{needs.SHARED_MEMORY} has {_mebibytes(shared)} left, and parallel workers would "
                f"share {_mebibytes(memory)}. Building without them, which takes longer; "
                "containers get more by --shm-size."
            )
            return 0
        return workers

    def _vacuum(self) -> None:
        try:
            self.session.run(f"VACUUM (ANALYZE) {self.table}")
        except DatabaseError as error:
            raise IndexProblem(
                f"The index is there, but VACUUM of {self.embedding._meta.db_table} failed: {error}"
            ) from error

    def _clean(self, name: str) -> tuple[str, ...]:
        """Drops what broken-off builds have left; returns its names."""
        there = self._health().indexes
        if building := [found.name for found in there if found.building is not None]:
            raise IndexProblem(
                f"Index {building[0]} of {self.embedding._meta.label} is being built by somebody "
                "else. index_report shows how far it is."
            )
        left = [
            found
            for found in there
            if found.is_leftover or (found.name == name and found.state is IndexState.INVALID)
        ]
        for found in left:
            try:
                self.session.run(f"DROP INDEX CONCURRENTLY IF EXISTS {self._quoted(found.name)}")
            except DatabaseError as error:
                raise self._problem(EmbeddingIndex(name=name, fields=["vector"]), error) from error
        return tuple(found.name for found in left)

    def _clean_after(self, name: str) -> None:
        """Tries to drop what this build leaves, on a connection of its own: ours may be gone."""
        try:
            with Session(self.connection.alias, Listener()) as session:
                session.ask(f"SET statement_timeout = '{CLEANING_SECONDS}s'")
                again = _Work(self.embedding, self.connection, session, self.listener)
                dropped = again._clean(name)
        except (DatabaseError, IndexProblem):
            self.listener.note(
                "What is left of the build could not be dropped. The next build does it; until "
                "then it costs writes some time, and searches nothing."
            )
        else:
            for one in dropped:
                self.listener.note(f"The half-built index {one} was dropped.")

    def _done(
        self,
        index: EmbeddingIndex,
        action: str,
        start: float,
        before: int,
        dropped: tuple[str, ...],
    ) -> Built:
        seconds = time.monotonic() - start
        return Built(index.name, action, seconds, self._bytes(index.name), before, dropped)

    def _problem(self, index: EmbeddingIndex, error: DatabaseError) -> IndexProblem:
        if _sqlstate(error) == INSUFFICIENT_PRIVILEGE:
            [(user,)] = self.session.ask("SELECT current_user")
            return IndexProblem(
                f"User {user!r} may not build {index.name}: only the owner of "
                f"{self.embedding._meta.db_table} may, with the right to CREATE in its schema. Run "
                "the command as that user, or as a role that is a member of it."
            )
        return IndexProblem(
            f"Index {index.name} of {self.embedding._meta.label} was not built: "
            f"{str(error).strip()}"
        )

    def _health(self) -> Health:
        return health(self.embedding, using=self.connection.alias)

    def _state(self, name: str) -> IndexState:
        table = self.embedding._meta.db_table
        return database.index_state(table, name, self.connection.alias)

    def _bytes(self, name: str) -> int:
        return sum(found.bytes for found in self._health().indexes if found.name == name)

    def _quoted(self, name: str) -> str:
        return self.connection.ops.quote_name(name)


def _sqlstate(error: DatabaseError) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
