"""How an embedding table and its indexes are: sizes, dead rows, builds, and what would help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from cardigan_reco import database, locks
from cardigan_reco.database import IndexState
from cardigan_reco.fields import OPERATOR_CLASS, EmbeddingIndex
from cardigan_reco.models import Embedding

from . import needs

MANY_ROWS = 1_000
"""So few dead or changed rows are no trouble, whatever their share is."""
DEAD_SHARE = 0.15
"""From here on, vacuuming by REINDEX first is much faster (15.7 s against 0.3 s)."""
CHANGED_SHARE = 0.2
"""Of the rows since ANALYZE; a search chooses its plan by the planner's estimates."""
BLOAT = 2.5
"""Times the space that an index of the rows needs; large vectors fill pages by 1.9 at worst."""
LOOKING_SECONDS = 30.0
"""How long each statement may take that looks at a table; they are short ones."""


@dataclass(frozen=True)
class Index:
    """An HNSW index of the table, or what has the name of one."""

    name: str
    state: IndexState
    """VALID, INVALID or OTHER_OPERATOR."""
    is_declared: bool
    """Whether the model's Meta names it."""
    bytes: int
    bytes_per_row: float | None
    m: int
    scans: int
    """Searches that used it, since the server's statistics began."""
    building: float | None
    """Share of the table that a build in progress has read; None: none is seen."""

    @property
    def is_leftover(self) -> bool:
        """Whether a REINDEX CONCURRENTLY that was broken off has left it behind."""
        broken = self.state is IndexState.INVALID and self.building is None
        return broken and re.search(r"_cc(new|old)\d*$", self.name) is not None


@dataclass(frozen=True)
class LockingBuild:
    """A CREATE INDEX without CONCURRENTLY, of whatever kind, which nobody may write beside."""

    pid: int
    """The server's process."""
    read: float
    """Share of the table that it has read."""


@dataclass(frozen=True)
class Health:
    """One embedding table in one database. Rows are PostgreSQL's own counts, which lag a little."""

    collection: str
    """The model's label."""
    database: str
    pgvector: str | None
    rows: int
    dead_rows: int
    """Replaced or deleted since the last VACUUM; searches still pass by them."""
    changed_rows: int
    """Since the last ANALYZE."""
    table_bytes: int
    dimensions: int
    indexes: tuple[Index, ...]
    last_vacuum: datetime | None
    last_analyze: datetime | None
    state: IndexState
    """VALID where an index serves the searches, else of the index that should."""
    locking_build: LockingBuild | None = None
    """One that is seen now. Its index is in no catalogue until it ends."""

    @property
    def dead_share(self) -> float:
        return self.dead_rows / max(self.rows + self.dead_rows, 1)

    @property
    def serving(self) -> Index | None:
        """The index that searches use."""
        return next((one for one in self.indexes if one.state is IndexState.VALID), None)

    @property
    def building(self) -> Index | None:
        """An index that is being built, as far as this user may see it."""
        return next((one for one in self.indexes if one.building is not None), None)

    @property
    def bloat(self) -> float:
        """How many times the space that its rows need the index takes; 0 without an index."""
        index = self.serving
        if index is None or not self.rows:
            return 0.0
        return index.bytes / needs.index_bytes(self.rows, self.dimensions, index.m)

    @property
    def hints(self) -> list[str]:
        """What is to be done, the most urgent first; empty: nothing."""
        return list(self._hints())

    def _hints(self) -> Iterator[str]:
        if self.state is IndexState.NO_TABLE:
            yield f"The table isn't there: manage.py migrate --database {self.database}"
            return
        build = f"manage.py build_index {self.collection} --database {self.database}"
        if (locking := self.locking_build) is not None:
            yield (
                f"Process {locking.pid} of the server builds an index without CONCURRENTLY, "
                f"{locking.read:.0%} read; writes wait for it. Wait, too, or end it: "
                f"SELECT pg_cancel_backend({locking.pid});"
            )
        if self.building is not None:
            yield f"{self.building.name} is being built, {self.building.building:.0%} read: wait."
        elif self.serving is None and locking is None:
            yield f"No search has an index: {build}"
        for index in self.indexes:
            if index.is_leftover:
                yield f"{index.name} is left of a rebuild that was broken off: {build}"
            elif index.state is IndexState.VALID and not index.is_declared:
                yield (
                    f"No Meta names {index.name}: put EmbeddingIndex(name={index.name!r}, "
                    f'fields=["vector"]) into the indexes of {self.collection}.Meta.'
                )
        renewal = self._renewal(build)
        if renewal:
            yield renewal
        changed = self.changed_rows / max(self.rows, 1)
        if not renewal and self.changed_rows >= MANY_ROWS and changed > CHANGED_SHARE:
            yield (
                f"{self.changed_rows:,} rows changed since the last ANALYZE, and searches choose "
                "their plans by it: ANALYZE the table, or let autovacuum do it more often."
            )

    def _renewal(self, build: str) -> str:
        """Returns why the index should be built anew, with ANALYZE after that, or ""."""
        if self.serving is None or self.building is not None or self.locking_build is not None:
            return ""
        if self.dead_rows >= MANY_ROWS and self.dead_share > DEAD_SHARE:
            return f"{self.dead_share:.0%} of the rows are dead: {build} --rebuild"
        if self.rows + self.dead_rows >= MANY_ROWS and self.bloat > BLOAT:
            return f"The index takes {self.bloat:.1f} times what its rows need: {build} --rebuild"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it in JSON's types."""
        return {
            "collection": self.collection,
            "database": self.database,
            "state": self.state.name.lower(),
            "pgvector": self.pgvector,
            "rows": self.rows,
            "dead_rows": self.dead_rows,
            "dead_share": round(self.dead_share, 4),
            "changed_rows": self.changed_rows,
            "table_bytes": self.table_bytes,
            "bloat": round(self.bloat, 2),
            "last_vacuum": _text(self.last_vacuum),
            "last_analyze": _text(self.last_analyze),
            "indexes": [
                {
                    "name": index.name,
                    "state": index.state.name.lower(),
                    "is_declared": index.is_declared,
                    "bytes": index.bytes,
                    "bytes_per_row": index.bytes_per_row and round(index.bytes_per_row, 1),
                    "scans": index.scans,
                    "building": index.building and round(index.building, 4),
                }
                for index in self.indexes
            ],
            "locking_build": self.locking_build and asdict(self.locking_build),
            "hints": self.hints,
        }


def declared(embedding: type[Embedding]) -> list[EmbeddingIndex]:
    """Returns the vector indexes that the model's Meta names."""
    return [index for index in embedding._meta.indexes if isinstance(index, EmbeddingIndex)]


def health(embedding: type[Embedding], *, using: str) -> Health:
    """Returns how the table and its indexes are, from PostgreSQL's catalogues and statistics.

    Raises Locked when somebody else has the table, or an index of it, for himself.
    """
    table = embedding._meta.db_table
    with locks.looking([table], using=using, seconds=LOOKING_SECONDS):
        return _health(embedding, using)


def _health(embedding: type[Embedding], using: str) -> Health:
    names = [index.name for index in declared(embedding)]
    with connections[using].cursor() as cursor:
        table = connections[using].ops.quote_name(embedding._meta.db_table)
        cursor.execute(_TABLE, [table])
        row = cursor.fetchone()
        rows, dead, changed, size, vacuumed, analyzed = row or (0, 0, 0, 0, None, None)
        cursor.execute(_INDEXES, [OPERATOR_CLASS, table, names])
        indexes = tuple(_index(found, names, rows) for found in cursor.fetchall())
        cursor.execute(_LOCKING_BUILD, [table])
        locking = cursor.fetchone()
    installed = database.extension(using).installed
    return Health(
        collection=embedding._meta.label,
        database=using,
        pgvector=".".join(map(str, installed)) if installed else None,
        rows=rows,
        dead_rows=dead,
        changed_rows=changed,
        table_bytes=size,
        dimensions=needs.dimensions(embedding),
        indexes=indexes,
        last_vacuum=vacuumed,
        last_analyze=analyzed,
        state=_state(indexes) if row else IndexState.NO_TABLE,
        locking_build=LockingBuild(*locking) if locking else None,
    )


# Statistics are lost in a crash; what VACUUM and ANALYZE noted in pg_class isn't.
_TABLE = """
    SELECT
        CASE WHEN n_live_tup + n_dead_tup > 0 THEN n_live_tup
            ELSE greatest(reltuples, 0)::bigint END,
        coalesce(n_dead_tup, 0),
        coalesce(n_mod_since_analyze, 0),
        pg_table_size(oid),
        greatest(last_vacuum, last_autovacuum),
        greatest(last_analyze, last_autoanalyze)
    FROM pg_class LEFT JOIN pg_stat_all_tables ON relid = oid
    WHERE oid = to_regclass(%s)
"""
_INDEXES = """
    SELECT
        named.relname,
        index.indisvalid,
        access.amname = 'hnsw' AND operator.opcname = %s,
        pg_relation_size(named.oid),
        (SELECT split_part(option, '=', 2)::int FROM unnest(named.reloptions) AS option
            WHERE option LIKE 'm=%%'),
        coalesce(statistics.idx_scan, 0),
        progress.blocks_done::float / nullif(progress.blocks_total, 0),
        progress.pid IS NOT NULL
    FROM pg_index index
    JOIN pg_class named ON named.oid = index.indexrelid
    JOIN pg_am access ON access.oid = named.relam
    JOIN pg_opclass operator ON operator.oid = index.indclass[0]
    LEFT JOIN pg_stat_all_indexes statistics ON statistics.indexrelid = named.oid
    LEFT JOIN pg_stat_progress_create_index progress ON progress.index_relid = named.oid
    WHERE index.indrelid = to_regclass(%s)
        AND (access.amname = 'hnsw' OR named.relname = ANY(%s))
    ORDER BY named.relname
"""
_LOCKING_BUILD = """
    SELECT pid, coalesce(blocks_done::float / nullif(blocks_total, 0), 0)
    FROM pg_stat_progress_create_index
    WHERE relid = to_regclass(%s) AND command = 'CREATE INDEX'
        AND datname = current_database()
    LIMIT 1
"""


def _index(row: tuple[Any, ...], names: list[str], rows: int) -> Index:
    name, is_valid, is_ours, size, m, scans, read, is_building = row
    state = IndexState.VALID if is_valid else IndexState.INVALID
    return Index(
        name=name,
        state=state if is_ours else IndexState.OTHER_OPERATOR,
        is_declared=name in names,
        bytes=size,
        bytes_per_row=size / rows if rows else None,
        m=m or needs.DEFAULT_M,
        scans=scans,
        building=(read or 0.0) if is_building else None,
    )


def _state(indexes: tuple[Index, ...]) -> IndexState:
    states = {index.state for index in indexes if not index.is_leftover}
    for state in (IndexState.VALID, IndexState.INVALID, IndexState.OTHER_OPERATOR):
        if state in states:
            return state
    return IndexState.ABSENT


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
