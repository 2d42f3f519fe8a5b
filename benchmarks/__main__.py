"""All figures of speed in one run, and docs/benchmarks.md with their table and charts.

`python benchmarks --rows 100000` runs the scripts one after the other, each in a process of its
own, and replaces the generated part of docs/benchmarks.md and the charts in docs/benchmarks/. What
was measured is kept there in results.json, so that `--only filters` measures that anew and leaves
the rest as it was. It needs the extra [benchmarks].
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import charts

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
FOLDER = ROOT / "docs" / "benchmarks"
RESULTS = FOLDER / "results.json"
BEGIN, END = "<!-- python benchmarks writes from here -->", "<!-- to here -->"
PACKAGES = (
    *("Django", "psycopg", "pgvector", "numpy", "Pillow", "torch", "torchvision"),
    *("scikit-learn", "faiss-cpu", "hnswlib", "usearch"),
)


@dataclass(frozen=True)
class Script:
    """A benchmark, and how large it is beside the vectors of the others."""

    name: str
    title: str
    share: float = 1
    """Of --rows."""
    at_least: int = 1
    at_most: int | None = None


SCRIPTS = (
    Script("similar", "A shelf"),
    Script("throughput", "Shelves a second"),
    Script("filters", "Filters"),
    Script("libraries", "Libraries in process"),
    Script("growth", "Growth"),
    Script("encoding_speed", "Encoding", share=0.02, at_least=512),
    Script("vector_writes", "Writing vectors"),
    Script("plugin_cost", "What the plugin costs a shop", at_most=10_000),
    Script("storage", "Storage"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="Vectors; 10,000 by default.")
    parser.add_argument("--growth-rows", type=int, help="The largest catalogue of growth.")
    parser.add_argument("--growth-dimensions", type=int, help="Of its vectors.")
    parser.add_argument("--only", nargs="*", choices=[one.name for one in SCRIPTS], default=[])
    parser.add_argument("--json", action="store_true", help="Print all as JSON; write nothing.")
    parser.add_argument("--redraw", action="store_true", help="Measure nothing, write it anew.")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if RESULTS.exists() and (options.only or options.redraw):
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    failed = []
    for script in () if options.redraw else SCRIPTS:
        if not options.only or script.name in options.only:
            found = run(script, options)
            if found is None:
                failed.append(script.name)
            else:
                results[script.name] = found
    ordered = {one.name: results[one.name] for one in SCRIPTS if one.name in results}
    if options.json:
        print(json.dumps(ordered, indent=2))
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        write(ordered, charts.draw(ordered, FOLDER))
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}.")


def run(script: Script, options: argparse.Namespace) -> dict[str, Any] | None:
    """Returns what a script measured, with when and where; None if it failed."""
    rows = max(script.at_least, round(options.rows * script.share))
    if script.at_most:
        rows = min(rows, script.at_most)
    more: list[str] = []
    if script.name == "growth":
        rows = options.growth_rows or rows
        if options.growth_dimensions:
            more += ["--dimensions", str(options.growth_dimensions)]
    print(f"{script.name}, {rows} rows", file=sys.stderr, flush=True)
    finished = subprocess.run(
        [
            *[sys.executable, str(Path(__file__).with_name(f"{script.name}.py"))],
            *["--rows", str(rows), "--json", *more],
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode:
        return None
    # Whatever a library printed before.
    found: dict[str, Any] = json.loads(finished.stdout[finished.stdout.index("{\n") :])
    return {
        **found,
        "rows": rows,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
    }


def write(results: Mapping[str, Any], drawn: list[tuple[str, Path]]) -> None:
    """Replaces the generated part of the page; what people wrote around it stays."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"# Speed\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    titles = {one.name: one.title for one in SCRIPTS}
    parts = ["", f"On {machine()}.", "", versions(), ""]
    parts += [f"![{title}]({file.relative_to(PAGE.parent)})\n" for title, file in drawn[:1]]
    for name, result in results.items():
        parts += [f"### {titles[name]}", ""]
        parts += [f"`benchmarks/{name}.py --rows {result['rows']}`, {result['measured']}", ""]
        parts += ["| | ours | peer | against | ratio | reach | |", "|---|---|---|---|---|---|---|"]
        for one in result["figures"]:
            unit = f" {one['unit']}" if one["unit"] else ""
            met = {True: "yes", False: "**no**", None: ""}[one["is_met"]]
            parts.append(
                f"| {one['what']} | {number(one['ours'])}{unit} | {number(one['peer'])}{unit} | "
                f"{one['against']} | {number(one['ratio'])} | {one['reach']} | {met} |"
            )
        known = {
            key: value
            for key, value in result["notes"].items()
            if not isinstance(value, (list, dict))
        }
        parts += ["", *[f"- {key}: {number(value)}" for key, value in known.items()], ""]
        parts += [
            f"![{title}]({file.relative_to(PAGE.parent)})\n"
            for title, file in drawn
            if file.stem == name
        ]
    PAGE.write_text(before + BEGIN + "\n".join(parts) + "\n" + END + after, encoding="utf-8")


def number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def machine() -> str:
    """Returns the processor, its cores, the memory and the system."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1].strip() if model else platform.processor()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def versions() -> str:
    found = [f"Python {platform.python_version()}", *server_versions()]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found) + "."


def server_versions() -> list[str]:
    """Returns the versions of PostgreSQL and pgvector, and the memory that the server has."""
    import psycopg
    import server

    with psycopg.connect(server.start()) as connection:
        rows = connection.execute(
            "SELECT 'PostgreSQL ' || current_setting('server_version'), "
            "'pgvector ' || (SELECT default_version FROM pg_available_extensions "
            "WHERE name = 'vector'), 'shared_buffers ' || current_setting('shared_buffers'), "
            "'huge pages ' || current_setting('huge_pages_status', true)"
        ).fetchone()
    return [str(part) for part in rows or () if part]


if __name__ == "__main__":
    main()
