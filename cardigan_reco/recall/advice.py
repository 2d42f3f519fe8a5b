"""What to do about a recall that is too low."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cardigan_reco import collection as collections
from cardigan_reco import conf, neighbours
from cardigan_reco.indexes import Health
from cardigan_reco.models import Embedding

from .result import Recall

Scan = Callable[[int], Recall]


def advise(
    measured: Sequence[Recall], alone: Recall | None, health: Health, *, floor: float, scan: Scan
) -> list[str]:
    """Returns what to do, the first first; empty where all is at or above `floor`.

    `alone` is the index by itself, None where there is none; `scan` measures it with another
    hnsw.ef_search, which is how raising it is judged before it is advised.
    """
    low = [one for one in measured if one.recall < floor]
    if not low and (alone is None or alone.recall >= floor):
        return []
    return list(_advise(low, alone, health, floor, scan))


def _advise(
    low: Sequence[Recall], alone: Recall | None, health: Health, floor: float, scan: Scan
) -> Iterator[str]:
    yield from health.hints
    if timed_out := sum(one.timed_out for one in low):
        seconds = conf.current().search_timeout_seconds
        yield (
            f"{timed_out} searches took longer than SEARCH_TIMEOUT_SECONDS, {seconds:g}, and found "
            "nothing: look for a lack of memory or CPU, then raise it."
        )
    if alone is None:
        return
    if alone.recall < floor:
        yield from _of_the_index(alone, health, floor, scan)
    elif low:
        names = ", ".join(one.name for one in low)
        yield (
            f"The index by itself reaches {alone.recall:.3f}, so the plan is what fails in: "
            f"{names}. ANALYZE the tables that the filter reads, then raise EXACT_ROWS, now "
            f"{conf.current().exact_rows:,}, so that such filters are compared exactly."
        )


def _of_the_index(alone: Recall, health: Health, floor: float, scan: Scan) -> Iterator[str]:
    embedding = collections.labelled(health.collection)
    ef_search = neighbours.ef_search(embedding, alone.limit + 1)
    best = alone
    while ef_search < neighbours.MAX_EF_SEARCH:
        ef_search = min(2 * ef_search, neighbours.MAX_EF_SEARCH)
        best = scan(ef_search)
        if best.recall >= floor:
            yield (
                f"Raise {_setting(embedding)} to {ef_search}: the index by itself then reaches "
                f"{best.recall:.3f} in place of {alone.recall:.3f}, at "
                f"{1000 * best.searched.median:.1f} ms in place of "
                f"{1000 * alone.searched.median:.1f} ms."
            )
            return
    yield (
        f"No {_setting(embedding)} helps: {neighbours.MAX_EF_SEARCH} reaches {best.recall:.3f}. "
        f"Rebuild the index: manage.py build_index {health.collection} --database "
        f"{health.database} --rebuild. "
        "If that doesn't help either, give its EmbeddingIndex more links, such as m=32 and "
        "ef_construction=256, under a new name."
    )


def _setting(embedding: type[Embedding]) -> str:
    return f"{embedding._meta.label}.ef_search" if embedding.ef_search else "EF_SEARCH"
