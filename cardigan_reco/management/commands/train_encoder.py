"""Trains an encoder on a shop's own pictures, or on any labelled ones."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from cardigan_reco import collection as collections
from cardigan_reco.duplicates import families
from cardigan_reco.encoders import bundle, networks
from cardigan_reco.exceptions import CardiganError, MissingExtra

if TYPE_CHECKING:
    from cardigan_reco.training.examples import Example, Triplets
    from cardigan_reco.training.run import Setting
    from cardigan_reco.training.trainer import Result


def _column(text: str) -> tuple[str, str | None, float]:
    name, _, weight = text.partition(":")
    name, _, aspect = name.partition("=")
    try:
        return name, aspect or None, float(weight or 1)
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is no COLUMN[=ASPECT][:WEIGHT], such as article_type=kind:0.5"
        ) from error


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no NAME=NUMBER") from error


# Options that are fields of the recipe under the same name.
_RECIPE = (
    "network",
    "trunk",
    "dimensions",
    "loss",
    "margin",
    "contrast",
    "temperature",
    "mining",
    "epochs",
    "batch_size",
    "sizes",
    "size",
    "learning_rate",
    "patience",
    "seed",
    "precision",
)


class Command(BaseCommand):
    help = (
        "Trains an encoder on labelled pictures, triplets or a collection. Writes a bundle, a "
        "model card and a report into a folder; started again with it, goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="For the bundle, the log and checkpoints.")
        data = parser.add_argument_group("what it learns from")
        data.add_argument(
            "--data",
            type=Path,
            metavar="CSV",
            help="picture[,group][,item][,split] and columns of classes; or "
            "query,positive,negative.",
        )
        data.add_argument("--pictures", type=Path, help="Their folder; by default the CSV's.")
        data.add_argument("--collection", help="Instead of --data: similar, or a model's label.")
        data.add_argument(
            "--column",
            type=_column,
            action="append",
            default=[],
            metavar="COLUMN[=ASPECT][:WEIGHT]",
            help="Classes to learn; may be repeated. Aspects are AspectNet's.",
        )
        data.add_argument(
            "--source-weight",
            type=_weight,
            action="append",
            default=[],
            metavar="SOURCE=NUMBER",
            help="How often the pictures of a source are drawn.",
        )
        data.add_argument(
            "--wild-source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="Of few photographs, taken anywhere: they are changed most.",
        )
        data.add_argument("--licence", default="", help="Of the pictures, for the model card.")
        how = parser.add_argument_group("how it learns")
        how.add_argument("--network", help="AspectNet, SmallNet, SimNet or VisNet.")
        how.add_argument("--trunk", help="gridnet, our own, or a network of torchvision.")
        how.add_argument(
            "--start-from", help="A bundle's path, or 'bundled': weights to begin with."
        )
        how.add_argument(
            "--trunk-weights",
            help="torchvision's for the trunk, which it downloads, such as DEFAULT; or a file.",
        )
        how.add_argument("--dimensions", type=int)
        how.add_argument(
            "--aspect-weight",
            type=_weight,
            action="append",
            default=[],
            metavar="ASPECT=NUMBER",
            help="Share of an aspect in the similarity.",
        )
        how.add_argument("--loss", help="softmax, cosface, arcface, contrast, hinge, softpn ...")
        how.add_argument("--margin", type=float, help="The hinge's g; 0.05 by default.")
        how.add_argument("--temperature", type=float, help="Of the softmax over classes; 0.0625.")
        how.add_argument("--contrast", type=float, help="Weight of pairs beside columns; 0.4.")
        how.add_argument("--mining", help="Negatives of triplets: random, semi-hard or hard.")
        how.add_argument("--epochs", type=int)
        how.add_argument("--batch-size", type=int)
        how.add_argument(
            "--sizes",
            type=int,
            nargs="+",
            help="Input sides, growing; by default from 64 to 112, or that of --start-from.",
        )
        how.add_argument("--size", type=int, help="The encoder's input side; the last of --sizes.")
        how.add_argument("--learning-rate", type=float)
        how.add_argument("--patience", type=int, help="Epochs without progress before it ends.")
        how.add_argument("--seed", type=int)
        where = parser.add_argument_group("where it runs")
        where.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N.")
        where.add_argument("--precision", help="auto, fp32, bf16 or fp16.")
        where.add_argument(
            "--threads", type=int, help="All cores, by default, over torchrun's processes."
        )
        where.add_argument("--checkpoint-minutes", type=float, default=5)
        where.add_argument("--tensorboard", action="store_true")
        where.add_argument("--int8", action="store_true", help="Half the bundle's size.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            from cardigan_reco.training import run
            from cardigan_reco.training.recipe import Recipe
        except ModuleNotFoundError as error:
            raise CommandError(str(MissingExtra("Training", "train"))) from error
        try:
            recipe = Recipe(
                columns=tuple(options["column"]),
                aspect_weights=dict(options["aspect_weight"]),
                source_weights=dict(options["source_weight"]),
                wild_sources=tuple(options["wild_source"]),
                **_chosen(options),
            )
            result = run.train(recipe, self._data(options), self._setting(options))
        except CardiganError as error:
            raise CommandError(str(error)) from error
        if int(os.environ.get("RANK", "0")) == 0:
            self._report(result, options["folder"])

    def _data(self, options: dict[str, Any]) -> list[Example] | Triplets:
        from cardigan_reco.training import examples, tables

        file, purpose = options["data"], options["collection"]
        if (file is None) == (purpose is None):
            raise CommandError("Give either --data CSV or --collection, what to learn from.")
        if file is None:
            try:
                embedding = collections.named(purpose)
            except LookupError as error:
                raise CommandError(error.args[0]) from error
            doubles = families.confirmed(embedding, using=router.db_for_read(embedding))
            return examples.from_collection(embedding, doubles)
        pictures = options["pictures"] or file.parent
        if tables.is_triplets(file):
            return tables.triplets_from_csv(file, pictures)
        return tables.from_csv(file, pictures)

    def _setting(self, options: dict[str, Any]) -> Setting:
        from cardigan_reco.training.run import Setting

        together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = options["threads"]
        if threads is None:
            threads = max(1, (os.cpu_count() or 1) // together)
        elif threads < 1:
            raise CommandError(f"threads is {threads}. It must be 1 or more.")
        return Setting(
            folder=options["folder"],
            device=options["device"],
            threads=threads,
            checkpoint_minutes=options["checkpoint_minutes"],
            start_from=_start(options),
            trunk_weights=options["trunk_weights"],
            int8=options["int8"],
            licence=options["licence"],
            tensorboard=options["tensorboard"],
            progress=options["verbosity"] > 0,
        )

    def _report(self, result: Result, folder: Path) -> None:
        self.stdout.write(f"Best epoch: {result.epoch}")
        if result.figures is not None:
            for name, value in result.figures.values.items():
                self.stdout.write(f"{name:<32} {value:.3f}")
        self.stdout.write(
            f"{folder} holds the encoder (encoder.safetensors), its model card (encoder.md; say "
            "in it what the network is good and bad at) and the report (report.html)."
        )


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the recipe's fields that were given, and those that the network or the weights to
    start from bring along.
    """
    chosen: dict[str, Any] = {}
    if start := _start(options):
        read = bundle.read(start)
        chosen |= {"network": read.network, "trunk": read.trunk, "dimensions": read.dimensions}
        chosen["sizes"] = read.preprocessing.resize[:1]
    chosen |= {name: options[name] for name in _RECIPE if options[name] is not None}
    network = chosen.get("network")
    if network in networks.NETWORKS:
        chosen.setdefault("trunk", networks.TRUNKS[network])
    if network in networks.SIZES:
        chosen.setdefault("sizes", networks.SIZES[network])
    if "sizes" in chosen:
        chosen["sizes"] = tuple(chosen["sizes"])
    return chosen


def _start(options: dict[str, Any]) -> Path | None:
    start = options["start_from"]
    if start is None:
        return None
    return bundle.BUNDLED if start == "bundled" else Path(start)
