"""The charts of docs/benchmarks.md, drawn from what the scripts printed as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Results = Mapping[str, Any]
"""Name of a script -> its figures and notes."""
OURS, PEER, LIMIT = "#2f6f9f", "#b9b9b9", "#b3402f"


def draw(results: Results, folder: Path) -> list[tuple[str, Path]]:
    """Draws what there are results for; returns title and file of each chart."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
    charts: list[tuple[str, str, Callable[[Any, Any], None], tuple[str, ...]]] = [
        ("reach", "How far each figure is from its limit", _reach, tuple(results)),
        ("throughput", "Shelves a second", _throughput, ("throughput",)),
        ("filters", "A shelf within a share of the products", _filters, ("filters",)),
        ("libraries", "One search", _libraries, ("libraries",)),
        ("growth", "Growth with the catalogue", _growth, ("growth",)),
        ("storage", "Bytes of a vector", _storage, ("storage",)),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, title, chart, needs in charts:
        if needs and all(need in results for need in needs):
            figure = pyplot.figure(figsize=(8, 4), layout="constrained")
            chart(figure, results)
            file = folder / f"{name}.png"
            figure.savefig(file, dpi=110)
            pyplot.close(figure)
            drawn.append((title, file))
    return drawn


def _reach(figure: Any, results: Results) -> None:
    limited = [
        (f"{name}: {one['what']} ({one['against']})", one)
        for name, result in results.items()
        for one in result["figures"]
        if one["reach"]
    ]
    figure.set_size_inches(9, 0.8 + 0.24 * len(limited))
    axes = figure.add_subplot()
    for place, (_, one) in enumerate(limited):
        # To the right of 1 is better than asked, whichever way the limit goes; what should be added
        # at most may be less than nothing.
        ratio = max(one["ratio"], 1e-9)
        share = ratio / one["at_least"] if one["at_least"] else one["at_most"] / ratio
        share = min(max(share, 0.01), 100)
        colour = OURS if one["is_met"] else LIMIT
        axes.plot([1, share], [place, place], color=colour, linewidth=3)
        axes.plot(share, place, "o", color=colour)
    axes.set_yticks(range(len(limited)), [name for name, _ in limited], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(y=0.01)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times as good as asked (log; red is short of it)")


def _throughput(figure: Any, results: Results) -> None:
    rates: dict[str, float] = {}
    for one in results["throughput"]["figures"]:
        processes = one["what"].split(",")[0]
        rates[one["what"]] = one["ours"]
        if one["against"].startswith("pgbench"):
            rates[f"{processes}, {one['against']}"] = one["peer"]
    names = sorted(rates, key=lambda name: int(name.split()[0]))
    axes = figure.add_subplot()
    bars = axes.barh(
        names,
        [rates[name] for name in names],
        color=[PEER if "pgbench" in name else OURS for name in names],
    )
    axes.bar_label(bars, fmt=" %.0f", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("shelves a second")


def _filters(figure: Any, results: Results) -> None:
    figures = results["filters"]["figures"]
    axes = figure.add_subplot()
    for quantile, colour in (("p50", OURS), ("p95", LIMIT)):
        rows = [one for one in figures if one["what"].endswith(quantile)]
        names = [one["what"].split(":")[0] for one in rows]
        axes.plot(names, [one["ours"] for one in rows], "o-", color=colour, label=quantile)
        axes.plot(
            names,
            [one["peer"] for one in rows],
            "--",
            color=colour,
            alpha=0.5,
            label=f"{quantile} unfiltered",
        )
    axes.set_xlabel("share of the products that passes")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _libraries(figure: Any, results: Results) -> None:
    figures = results["libraries"]["figures"]
    timed = [one for one in figures if one["unit"] == "ms"]
    times = {one["what"]: one["ours"] for one in timed}
    times |= {one["against"]: one["peer"] for one in timed}
    axes = figure.add_subplot()
    bars = axes.barh(
        list(times),
        list(times.values()),
        color=[PEER if name.endswith("in process") else OURS for name in times],
    )
    axes.bar_label(bars, fmt=" %.2f ms", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ms, median")


def _growth(figure: Any, results: Results) -> None:
    sizes = results["growth"]["notes"]["sizes"]
    rows = [size["rows"] for size in sizes]
    figure.set_size_inches(10, 4)
    left, middle, right = figure.subplots(1, 3)
    for key, label, colour in (
        ("query_ms", "similar_to", OURS),
        ("search_ms", "by psycopg", PEER),
        ("insert_ms", "insert", LIMIT),
    ):
        left.plot(rows, [size[key] for size in sizes], "o-", color=colour, label=label)
    left.set_ylabel("ms")
    left.set_ylim(bottom=0)
    middle.plot(rows, [size["search_pages"] for size in sizes], "o-", color=PEER)
    middle.set_ylabel("pages of the index that a search reads")
    middle.set_ylim(bottom=0)
    right.plot(rows, [size["index_bytes"] / 2**20 for size in sizes], "o-", label="index, MiB")
    right.plot(rows, [size["build_seconds"] for size in sizes], "o-", label="built in, s")
    right.set_yscale("log")
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.set_xlabel("vectors")
    for axes in (left, right):
        axes.legend(frameon=False)


def _storage(figure: Any, results: Results) -> None:
    figures = results["storage"]["figures"]
    axes = figure.add_subplot()
    parts: dict[str, dict[str, float]] = {}
    for one in figures:
        if one["unit"] == "bytes" and "both" not in one["what"]:
            kind, _, part = one["what"].partition(": ")
            parts.setdefault(part, {})["float32"] = one["peer"]
            parts[part][kind] = one["ours"]
    kinds = list(next(iter(parts.values())))
    bottom = [0.0] * len(kinds)
    for colour, (part, of) in zip((OURS, PEER), parts.items(), strict=False):
        values = [of[kind] for kind in kinds]
        axes.bar(kinds, values, 0.5, bottom=bottom, color=colour, label=part)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.legend(frameon=False)
