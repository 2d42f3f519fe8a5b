"""Finds edited copies of photos among all originals, next to imagededup's PHash and DHash.

`python benchmarks/copies.py --data ../shared/data` makes edited copies of the fashion validation
photos, one of each by turns with every edit, and looks for the original of each among all fashion
photos. All rows run in two processes and start from the files. "seconds" of imagededup are those of
hashing all files and of find_duplicates() at its default distance; its quality is that of its
hashes at every distance. Those of cardigan_reco are describing all files, finding candidates and
comparing them; what it takes to encode the pictures, which a shop with recommendations has done, is
a column of its own. The harder mix adds the same shots in other colours, which are no copies.

imagededup is installed by hand: `pip install imagededup`.
"""

# ruff: noqa: E402  Django is set up before the package is used.

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from django.conf import settings

settings.configure()
import copy_pairs

from cardigan_reco import copies
from cardigan_reco.copies import Descriptor
from cardigan_reco.encoders.torchvision_shim import import_torchvision
from cardigan_reco.training import edits, metrics

PROCESSES = 2
PRECISION = 0.99
HASH_DISTANCE, HASH_LIMIT = 10, 4
"""Bits in which a candidate's hash differs at most, and how many of these are compared."""
FAR_DISTANCE = 20
"""Bits to which imagededup is asked a second time: a third of the copies differ by more than its
default of 10."""
SEEN = (("18178", "18179"),)
"""Listings that are no photo_group, and one photo on the contact sheet: one file is smaller."""
SHOWN = 40
"""Highest-ranked pairs that aren't copies, on the contact sheet."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Files of originals and of queries, and of which original a query is a copy."""

    originals: list[Path]
    queries: list[Path]
    truth: list[int]
    """The place of the original; -1: the query is no copy of any."""
    kinds: list[str]

    @property
    def files(self) -> list[Path]:
        return [*self.originals, *self.queries]


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of all processors, which a busy machine changes less."""

    clock: float
    processors: float

    @classmethod
    def now(cls) -> Spent:
        own = resource.getrusage(resource.RUSAGE_SELF)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = 0
        for child in multiprocessing.active_children():
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        used = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
        return cls(time.perf_counter(), used + ticks / os.sysconf("SC_CLK_TCK"))

    def since(self) -> Spent:
        now = Spent.now()
        return Spent(now.clock - self.clock, now.processors - self.processors)

    def less(self, other: Spent) -> Spent:
        return Spent(self.clock - other.clock, self.processors - other.processors)

    def __str__(self) -> str:
        return f"{self.clock:>9.1f}{self.processors:>7.1f}"


@dataclass(frozen=True)
class Answer:
    """Pairs of a query and an original, and how sure it is that they are copies."""

    name: str
    pairs: NDArray[np.int64]
    scores: Floats
    spent: Spent
    encoding: Spent | None = None
    farther: Spent | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    parser.add_argument("--split", choices=["train", "val"], default="val")
    parser.add_argument("--copies", type=int, default=1, help="Of each picture.")
    parser.add_argument("--nearest", type=int, default=4, help="Of its vector; 4 as in find().")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--far", action="store_true", help="Let imagededup search farther, too.")
    parser.add_argument("--sheet", type=Path, help="Contact sheet of the first false pairs.")
    options = parser.parse_args()
    # Processes that are forked after torch has run hang: these come first.
    with (
        multiprocessing.Pool(PROCESSES, initializer=cv2.setNumThreads, initargs=(1,)) as processes,
        tempfile.TemporaryDirectory() as folder,
    ):
        task, rows = prepared(options, Path(folder))
        twins = sum(truth < 0 for truth in task.truth)
        print(
            f"{len(task.queries) - twins} copies, {twins} recoloured, {len(task.originals)} others"
        )
        # imagededup forks by itself.
        others = peers(task, Path(folder), far=options.far)
        alone = ours(task, processes, nearest=0)
        answers = [ours(task, processes, nearest=options.nearest), alone, *others]
    report(task, answers, rows)
    if options.sheet:
        draw(task, answers[0], rows, options.data, options.sheet)


def prepared(options: argparse.Namespace, folder: Path) -> tuple[Task, dict[str, copy_pairs.Row]]:
    """Writes the files; returns the task, and the rows of the originals."""
    chance = random.Random(options.seed)
    splits = [copy_pairs.fashion(options.data, split) for split in ("train", "val")]
    rows = splits[0][0] | splits[1][0]
    pictures = splits[0][1] | splits[1][1]
    originals = [folder / f"{pk}.jpg" for pk in rows]
    places = {pk: place for place, pk in enumerate(rows)}
    with ZipFile(options.data / "fashion.zip") as archive:
        for name in archive.namelist():
            if (pk := Path(name).stem) in places:
                originals[places[pk]].write_bytes(archive.read(name))
    queries: list[Path] = []
    truth: list[int] = []
    kinds: list[str] = []
    chosen = list(rows.keys() & splits[options.split == "val"][0].keys())
    chosen.sort(key=int)
    chance.shuffle(chosen)
    if options.split == "train":
        chosen = chosen[:1212]
    for pk in chosen:
        for number in range(options.copies):
            kind = edits.KINDS[len(queries) % len(edits.KINDS)]
            path = folder / f"copy-{pk}-{number}.jpg"
            edits.edited(pictures[pk], kind, chance).save(path, quality=edits.QUALITY)
            queries.append(path)
            truth.append(places[pk])
            kinds.append(kind)
    for pk in chosen:
        twin = copy_pairs.recoloured(pictures[pk], chance)
        if copy_pairs.is_recoloured(pictures[pk], twin):
            path = folder / f"twin-{pk}.jpg"
            twin.save(path, quality=edits.QUALITY)
            queries.append(path)
            truth.append(-1)
            kinds.append("recoloured")
    return Task(originals, queries, truth, kinds), rows


def ours(task: Task, processes: Pool, *, nearest: int) -> Answer:
    """Returns what cardigan_reco finds; without nearest vectors, by its hashes alone."""
    encoding = None
    if nearest:
        start = Spent.now()
        vectors = copy_pairs.vectors([opened(path) for path in task.files])
        encoding = start.since()
    count = len(task.originals)
    start = Spent.now()
    described = processes.map(describe, task.files, chunksize=100)
    # Unsigned: of a negative number NumPy counts the bits of its absolute value.
    hashes = np.array([[one.bits, one.mirrored_bits] for one in described]).view(np.uint64)
    candidates = []
    if nearest:
        beside = by_vector(vectors[:count], vectors[count:], nearest)
    for place in range(count, len(task.files)):
        near = by_hash(hashes[:count, 0], hashes[place])
        if nearest:
            near |= set(beside[place - count].tolist())
        candidates.append((described[place], [(other, described[other]) for other in sorted(near)]))
    found = processes.map(compare, candidates, chunksize=20)
    spent = start.since()
    pairs = [(query, other) for query, row in enumerate(found) for other, _ in row]
    scores = [score for row in found for _, score in row]
    name = "cardigan_reco" if nearest else "cardigan_reco, hashes alone"
    return Answer(name, np.array(pairs), np.array(scores), spent, encoding)


def opened(path: Path) -> Image.Image:
    return copy_pairs.opened(path.read_bytes())


def describe(path: Path) -> Descriptor:
    return copies.describe(opened(path))


def by_vector(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], nearest: int
) -> NDArray[np.int64]:
    batches = [queries[place : place + 256] for place in range(0, len(queries), 256)]
    found = [np.argpartition(-(batch @ vectors.T), nearest)[:, :nearest] for batch in batches]
    return np.concatenate(found)


def by_hash(bits: NDArray[np.uint64], query: NDArray[np.uint64]) -> set[int]:
    distances = np.minimum(*(np.bitwise_count(bits ^ probe) for probe in query))
    near = np.flatnonzero(distances <= HASH_DISTANCE)
    return set(near[np.argsort(distances[near], kind="stable")][:HASH_LIMIT].tolist())


def compare(
    given: tuple[Descriptor, Sequence[tuple[int, Descriptor]]],
) -> list[tuple[int, float]]:
    query, others = given
    return [(place, copies.compare(query, other).probability) for place, other in others]


def peers(task: Task, folder: Path, *, far: bool) -> list[Answer]:
    """Returns what imagededup finds with either of its hashes."""
    warnings.simplefilter("ignore")
    # imagededup imports torchvision, which may not fit the installed torch.
    import_torchvision("imagededup")
    from imagededup.methods import DHash, PHash

    logging.disable(logging.INFO)
    answers = []
    for method in (PHash(verbose=False), DHash(verbose=False)):
        start = Spent.now()
        encoded = method.encode_images(image_dir=folder, num_enc_workers=PROCESSES)
        method.find_duplicates(encoding_map=encoded, scores=True, num_dist_workers=PROCESSES)
        spent = start.since()
        farther = None
        if far:
            method.find_duplicates(
                encoding_map=encoded,
                max_distance_threshold=FAR_DISTANCE,
                scores=True,
                num_dist_workers=PROCESSES,
            )
            farther = start.since().less(spent)
        own, others = (
            np.array([int(encoded[path.name], 16) for path in paths], np.uint64)
            for paths in (task.queries, task.originals)
        )
        distances = np.bitwise_count(own[:, np.newaxis] ^ others).astype(np.float64)
        pairs = np.indices(distances.shape).reshape(2, -1).T
        name = f"imagededup {type(method).__name__}"
        answers.append(Answer(name, pairs, -distances.ravel(), spent, farther=farther))
    return answers


def report(task: Task, answers: Sequence[Answer], rows: dict[str, copy_pairs.Row]) -> None:
    """Prints the tables; the second one leaves out listings that are known to share a photo."""
    copied = np.array(task.truth) >= 0
    photos = shared_photos([path.stem for path in task.originals], rows)
    print(f"\n{'':40}{'seconds':>9}{'CPU':>7}{'encoding':>9}{'CPU':>7}")
    for answer in answers:
        print(f"{answer.name:40}{answer.spent}{answer.encoding or ''}")
        if answer.farther:
            name = f"{answer.name}, search to {FAR_DISTANCE} bits"
            print(f"{name:40}{answer.farther}")
    for title, with_doubles in (("all pairs", True), ("without listings with one photo", False)):
        print(f"\n{title:40}{'AP':>8}{'R@P99':>8}{'AP, hard':>10}{'R@P99':>8}")
        for answer in answers:
            true = is_true(task, answer.pairs)
            first, second = answer.pairs.T
            doubles = (
                ~true & copied[first] & (photos[np.array(task.truth)[first]] == photos[second])
            )
            figures = []
            for used in (copied[first], np.ones(len(first), bool)):
                used = used & (with_doubles | ~doubles)
                figures += metrics.precision_and_recall(
                    true[used], answer.scores[used], int(copied.sum()), precision=PRECISION
                )
            print(f"{answer.name:40}" + "{:>8.3f}{:>8.3f}{:>10.3f}{:>8.3f}".format(*figures))
    first = answers[0]
    true = is_true(task, first.pairs)
    found = np.zeros(len(task.queries))
    np.maximum.at(found, first.pairs[true, 0], first.scores[true])
    print(f"\n{'':28}{'copies':>8}{'candidate':>11}{'>= 0.5':>8}")
    for kind in edits.KINDS:
        own = np.array([one == kind for one in task.kinds])
        shares = [float((found[own] > level).mean()) for level in (0, 0.5)]
        print(f"{kind:28}{own.sum():>8}{shares[0]:>11.3f}{shares[1]:>8.3f}")
    false = ~true & (first.scores >= 0.5)
    print(f"pairs from probability 0.5 on that are no copies: {int(false.sum())}")


def shared_photos(pks: Sequence[str], rows: dict[str, copy_pairs.Row]) -> NDArray[np.int64]:
    """Returns a number for each listing, the same for those that are known to share a photo."""
    names = [rows[pk]["photo_group"] or pk for pk in pks]
    for one, other in SEEN:
        names[pks.index(other)] = names[pks.index(one)]
    return np.unique(names, return_inverse=True)[1]


def is_true(task: Task, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    true: NDArray[np.bool_] = np.array(task.truth)[pairs[:, 0]] == pairs[:, 1]
    return true


def draw(
    task: Task, answer: Answer, rows: dict[str, copy_pairs.Row], data: Path, sheet: Path
) -> None:
    """Draws and lists the highest-ranked pairs of a copy and a picture that it was not made of."""
    true = is_true(task, answer.pairs)
    copied = np.array(task.truth)[answer.pairs[:, 0]] >= 0
    order = [place for place in np.argsort(-answer.scores) if copied[place] and not true[place]]
    pictures = copy_pairs.fashion(data, "train")[1] | copy_pairs.fashion(data, "val")[1]
    page = Image.new("RGB", (8 * 180, -(-SHOWN // 8) * 124), "white")
    for number, place in enumerate(order[:SHOWN]):
        query, other = answer.pairs[place]
        ids = task.originals[task.truth[query]].stem, task.originals[other].stem
        for side, pk in enumerate(ids):
            left, top = number % 8 * 180 + side * 86, number // 8 * 124
            page.paste(pictures[pk].resize((84, 112)), (left, top))
        names = " | ".join(f"{pk} {rows[pk]['name']}" for pk in ids)
        print(f"{number + 1:>3} {answer.scores[place]:.3f} {task.kinds[query]:20} {names}")
    page.save(sheet)


if __name__ == "__main__":
    main()
