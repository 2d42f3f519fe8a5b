"""A whole training: from examples to a bundle, its model card and a report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..encoders import bundle, devices, networks, quantisation
from ..encoders.networks.aspectnet import AspectNet
from ..encoders.preprocessing import Preprocessing
from ..encoders.torchvision import TorchvisionEncoder
from ..exceptions import EncoderError
from . import card, checkpoints, losses, pixels, processes, report, scalars
from . import examples as examples_module
from .examples import Example, ExamplesError, Triplets
from .forward import MEAN, STD
from .recipe import Recipe
from .sampling import Rows
from .trainer import Result, Trainer

BUNDLE, CARD, REPORT, PIXELS = "encoder.safetensors", "encoder.md", "report.html", "pixels.npy"
_VALIDATION_SHARE = 0.1
_MARGIN_SIDE = 1.125
"""Pictures are decoded so much larger than the largest input, so that a zoom isn't blurred."""


@dataclass(frozen=True)
class Setting:
    """Where a training runs, and what its card says; none of it changes what is learned."""

    folder: Path
    device: str = "auto"
    threads: int = 1
    """For decoding, and of torch on the CPU."""
    checkpoint_minutes: float = 5
    start_from: Path | None = None
    """A bundle whose weights are the first."""
    trunk_weights: str | None = None
    """The trunk's first weights: a name of torchvision's, or a safetensors file's path."""
    int8: bool = False
    """Whether the bundle keeps its large weights in 8 bits."""
    licence: str = ""
    tensorboard: bool = False
    progress: bool = True


def train(recipe: Recipe, data: Sequence[Example] | Triplets, setting: Setting) -> Result:
    """Trains, or goes on with what the folder holds, and writes the files there.

    Raises a CardiganError for whatever is wrong with the data or the recipe, before the first step.
    """
    learned, checked = None, None
    if isinstance(data, Triplets):
        if not recipe.uses_triplets:
            raise EncoderError(
                f"loss is {recipe.loss!r}, which takes classes or groups, but the data are "
                f"triplets. Choices are: {', '.join(losses.TRIPLET)}."
            )
        examples = data.examples
        learned, checked = _split(data, recipe)
    else:
        seen = [example for example in data if example.split != "test"]
        examples = examples_module.hold_out(seen, share=_VALIDATION_SHARE, seed=recipe.seed)
        examples_module.check(
            examples,
            [name for name, _, _ in recipe.columns],
            [*recipe.source_weights, *recipe.wild_sources],
        )
    run = _description(recipe, examples, learned, setting)
    devices.check(setting.device)
    losses.check_installed(recipe.loss)
    setting.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(setting.threads)
    with processes.joined(setting.device) as group:
        recipe.check_processes(group.count)
        device = devices.choose(setting.device)
        if device.type == "cuda" and group.count > 1:
            device = devices.choose(f"cuda:{group.local_rank}")
            torch.cuda.set_device(device)
        if group.agree(lambda: run) != run:
            raise ExamplesError(
                "The processes read different data. Let nothing change them meanwhile, or learn "
                "from a CSV."
            )
        # Another run's is refused before all is decoded.
        state = checkpoints.load(setting.folder, run)
        first_step = 0 if state is None else state["step"] + 1
        network = _network(recipe, setting)
        aspects = getattr(network, "aspects", {})
        losses.check_aspects([aspect for _, aspect, _ in recipe.columns], aspects)
        _try(network, recipe)
        writes = setting.tensorboard and group.leads
        on_scalars = scalars.writer(setting.folder, first_step=first_step) if writes else None
        pictures = group.agree(lambda: _decode(examples, recipe, setting))
        trainer = Trainer(
            recipe,
            examples,
            np.load(pictures, mmap_mode="r"),
            network,
            folder=setting.folder,
            device=device,
            triplets=learned,
            validation_triplets=checked,
            processes=group,
            run=run,
            progress=setting.progress,
            checkpoint_minutes=setting.checkpoint_minutes,
            on_scalars=on_scalars,
            is_trained=setting.start_from is not None,
        )
        result = trainer.run()
        if group.leads:
            _write(result, trainer, recipe, examples, setting)
    return result


def _split(data: Triplets, recipe: Recipe) -> tuple[Rows, Rows | None]:
    """Returns the triplets to learn and those to check, whose queries are others."""
    rows = np.array(data.rows, np.int64)
    queries = np.unique(rows[:, 0])
    order = np.random.default_rng(recipe.seed).permutation(queries)
    held_out = np.isin(rows[:, 0], order[: int(len(order) * _VALIDATION_SHARE)])
    return rows[~held_out], rows[held_out] if held_out.any() else None


def _network(recipe: Recipe, setting: Setting) -> nn.Module:
    torch.manual_seed(recipe.seed)
    network = networks.build(recipe.network, trunk=recipe.trunk, dimensions=recipe.dimensions)
    start_from = setting.start_from
    if setting.trunk_weights is not None:
        if start_from is not None:
            raise EncoderError(
                "Both start_from and trunk_weights are given, and each fills the trunk. Leave one "
                "out."
            )
        whole = TorchvisionEncoder(recipe.trunk, setting.trunk_weights).build()
        if recipe.network == "SimNet":  # Which takes its convolutions alone.
            convolutions = whole.get_submodule("features").state_dict()
            network.get_submodule("features").load_state_dict(convolutions)
        else:
            network.get_submodule("trunk").load_state_dict(whole.state_dict())
    if start_from is not None:
        start = bundle.read(start_from)
        wanted = (recipe.network, recipe.trunk, recipe.dimensions)
        if (start.network, start.trunk, start.dimensions) != wanted:
            raise EncoderError(
                f"The weights {start_from} are of {start.network} on {start.trunk}, "
                f"{start.dimensions} dimensions, and the training is of {recipe.network} on "
                f"{recipe.trunk}, {recipe.dimensions}. Train the network that they are of."
            )
        network.load_state_dict(start.tensors())
        if isinstance(network, AspectNet):
            network.settle({})  # Its classes are learned anew,
            network.whiten(None)  # and what its designs have in common will be another thing.
    if recipe.aspect_weights:
        if not isinstance(network, AspectNet):
            raise EncoderError(f"{recipe.network} has no aspects to weigh. Choices are: AspectNet.")
        network.weigh(recipe.aspect_weights)
    return network


def _try(network: nn.Module, recipe: Recipe) -> None:
    """Raises EncoderError unless the network learns from pictures of every size of the recipe."""
    tried = deepcopy(network).train()
    for side in sorted({*recipe.sizes, recipe.encoder_size}):
        try:
            with torch.no_grad():
                tried(torch.zeros(2, 3, side, side))
        except (RuntimeError, TypeError, AssertionError) as error:
            raise EncoderError(
                f"{recipe.network} on {recipe.trunk} can't learn from pictures of {side} pixels: "
                f"{error} Choose other sizes, or another trunk."
            ) from error


def _decode(examples: Sequence[Example], recipe: Recipe, setting: Setting) -> Path:
    """Decodes into a file, unless a run that was killed has done so."""
    side = round(max(*recipe.sizes, recipe.encoder_size) * _MARGIN_SIDE)
    file = setting.folder / f"{_digest(examples)[:16]}-{side}-{PIXELS}"
    if not file.exists():
        unfinished = file.with_suffix(".unfinished")
        pixels.decode(
            examples, side, unfinished, threads=setting.threads, progress=setting.progress
        )
        unfinished.replace(file)
    return file


def _description(
    recipe: Recipe, examples: Sequence[Example], triplets: Rows | None, setting: Setting
) -> dict[str, object]:
    """Returns what must be the same for a run to go on."""
    return {
        **recipe.to_json(),
        "pictures": _digest(examples),
        "triplets": None if triplets is None else hashlib.sha256(triplets.tobytes()).hexdigest(),
        "start_from": str(setting.start_from) if setting.start_from else None,
        "trunk_weights": setting.trunk_weights,
    }


def _digest(examples: Sequence[Example]) -> str:
    told = [
        [one.name, one.size, dict(one.labels), one.group, one.item, one.split, one.source, one.box]
        for one in examples
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _write(
    result: Result,
    trainer: Trainer,
    recipe: Recipe,
    examples: Sequence[Example],
    setting: Setting,
) -> None:
    side = recipe.encoder_size
    tensors = result.network.state_dict()
    written = bundle.write(
        setting.folder / BUNDLE,
        quantisation.pack(tensors) if setting.int8 else quantisation.halve(tensors),
        network=recipe.network,
        trunk=recipe.trunk,
        dimensions=recipe.dimensions,
        preprocessing=Preprocessing(
            resize=(side, side),
            mean=(MEAN,) * 3,
            std=(STD,) * 3,
            pad_to_square=(255, 255, 255),
        ),
    )
    started_from = "random weights"
    if setting.start_from:
        started_from = setting.start_from.name
    elif setting.trunk_weights:
        started_from = f"torchvision's {recipe.trunk}, {Path(setting.trunk_weights).name}"
    card.write(
        setting.folder / CARD,
        written,
        recipe,
        examples,
        result,
        licence=setting.licence,
        started_from=started_from,
    )
    report.write(setting.folder / REPORT, trainer, result, examples)
    for file in setting.folder.glob(f"*-{Path(PIXELS).stem}.*"):
        file.unlink()
