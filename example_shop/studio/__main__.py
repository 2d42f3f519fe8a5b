"""Renders the catalogue: python -m example_shop.studio"""

from __future__ import annotations

import argparse
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from .. import folders
from . import catalogue
from .ranges import KINDS

SEED = 2018


def main() -> None:
    options = _parse()
    kinds = [kind for kind in KINDS if not options.kinds or kind.name in options.kinds]
    found = list(catalogue.sessions(KINDS, options.seed))
    catalogue.check(found)
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = [session for session in found if session.design.kind in kinds]
    with get_context("spawn").Pool(options.processes, maxtasksperchild=20) as pool:
        work = pool.imap_unordered(partial(catalogue.photograph, folder=options.folder), wanted)
        for _ in tqdm(work, total=len(wanted), unit="product"):
            pass
    ready = [
        session
        for session in found
        if all((options.folder / session.file(view)).exists() for view in session.views)
    ]
    catalogue.write_rows(ready, options.folder / "catalogue.csv")
    print(f"{len(ready)} of {len(found)} products have their pictures in {options.folder}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="studio", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--folder",
        type=Path,
        default=folders.CATALOGUE,
        help="where pictures and CSV go; pictures that are there already aren't taken again",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[kind.name for kind in KINDS],
        metavar="KIND",
        help="photograph these kinds only, such as: mug 'table lamp'",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of views and backdrops ({SEED})")
    parser.add_argument("--processes", type=int, default=2, help="products at a time (2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
