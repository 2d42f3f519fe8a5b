"""Renders the catalogue, and photos as shoppers take them: python -m example_shop.studio"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from .. import folders
from . import catalogue, problems, street
from .ranges import KINDS

SEED = 2018
STREET_PHOTOS = 48
Job = TypeVar("Job")
Result = TypeVar("Result")


def main() -> None:
    options = _parse()
    folder: Path = options.folder
    sessions = list(catalogue.sessions(KINDS, options.seed))
    catalogue.check(sessions)
    folder.mkdir(parents=True, exist_ok=True)
    run = partial(_run, processes=options.processes)
    wanted = [s for s in sessions if not options.kinds or s.design.kind.name in options.kinds]
    run(partial(catalogue.photograph, folder=folder), wanted, "Products")
    ready = [session for session in sessions if session.is_in(folder)]
    rows = list(catalogue.rows(ready))
    if not options.kinds:
        doubles, truth = problems.double(ready, rows, folder, options.seed)
        rows += doubles
        catalogue.write([*truth, *problems.near_twins(ready)], folder / "problems.csv")
        catalogue.write(problems.mislead(ready, folder, options.seed), folder / "misleading.csv")
        photos = list(street.plan(ready, STREET_PHOTOS, options.seed))
        taken = run(partial(street.photograph, folder=folder), photos, "Street photos")
        catalogue.write(taken, folder / "street.csv")
    catalogue.write(rows, folder / "catalogue.csv")
    print(f"{len(ready)} of {len(sessions)} products have their pictures in {folder}")


def _run(
    work: Callable[[Job], Result], jobs: Sequence[Job], title: str, *, processes: int
) -> list[Result]:
    # Blender leaks a little with each scene; a process is replaced now and then.
    with get_context("spawn").Pool(processes, maxtasksperchild=20) as pool:
        return list(tqdm(pool.imap(work, jobs), total=len(jobs), desc=title))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="studio", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--folder",
        type=Path,
        default=folders.CATALOGUE,
        help="where pictures and CSV files go; products' pictures that are there stay as they are",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[kind.name for kind in KINDS],
        metavar="KIND",
        help="photograph products of these kinds only, such as: mug 'table lamp'",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of all that is drawn ({SEED})")
    parser.add_argument("--processes", type=int, default=2, help="pictures at a time (2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
