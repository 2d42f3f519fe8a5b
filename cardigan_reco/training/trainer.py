"""Trains a network on decoded pictures, step by step, and goes on where it was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ..exceptions import CardiganError
from . import checkpoints, losses, pixels, schedule
from .augmentations import LIGHT, STRONG
from .curriculum import Curriculum, GivenTriplets, MinedTriplets, Pairs
from .examples import Example
from .losses import Batch, Column
from .mining import Miner
from .processes import Processes
from .recipe import Recipe, RecipeError
from .sampling import PairSampler, Rows, alone, classes, codes
from .validation import Figures, figures

MEAN, STD = 0.5, 0.25
"""Pictures from 0 to 1 are shown to the network minus MEAN, divided by STD."""
AVERAGE = 0.998
"""Decay of the running average of the weights: its horizon is 500 steps, less in the first."""
GRADIENT_NORM = 5.0
LOG_STEPS = 5

Pixels = NDArray[np.uint8]
Tensors = tuple[Tensor, ...] | list[Tensor]


class Diverged(CardiganError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Result:
    """A finished training."""

    network: nn.Module
    """The averaged network of the best epoch, on the CPU."""
    epoch: int
    """The best epoch, counted from 1."""
    figures: Figures | None
    """Its figures on the validation split; None without one."""
    history: list[dict[str, object]]
    """What the log holds, a dict a line."""


class Trainer:
    """One run of a recipe over examples and their pixels."""

    def __init__(
        self,
        recipe: Recipe,
        examples: Sequence[Example],
        pictures: Pixels,
        network: nn.Module,
        *,
        folder: Path,
        device: torch.device,
        triplets: Rows | None = None,
        validation_triplets: Rows | None = None,
        processes: Processes | None = None,
        run: dict[str, object] | None = None,
        progress: bool = True,
        checkpoint_minutes: float = 5,
        on_scalars: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        """`pictures`: (examples, side, side, 4) of `pixels.decode()`; `folder`: for log and state.

        `triplets`: (count, 3) rows that are learned as they are; without them a triplet loss mines
        its own. `validation_triplets` are measured in place of a validation split.
        `run` describes data and recipe, and a checkpoint of another run is refused.
        `on_scalars` is called with the step and the log's numbers.
        """
        self.recipe = recipe
        self._examples = examples
        self._pictures = pictures
        self._folder = folder
        self._device = device
        self._processes = processes or Processes()
        self._run = run or {}
        self._progress = progress
        self._checkpoint_seconds = checkpoint_minutes * 60
        self._on_scalars = on_scalars
        self._given_triplets = triplets
        self._validation_triplets = validation_triplets
        torch.manual_seed(recipe.seed)
        self._prepare_labels()
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss = losses.build(
            recipe.loss,
            self._columns,
            dimensions=recipe.dimensions,
            aspects=getattr(network, "aspects", {}),
            margin=recipe.margin,
            contrast=recipe.contrast,
            temperature=recipe.temperature,
        ).to(device)
        self._average = AveragedModel(network, multi_avg_fn=_average, use_buffers=True)
        self._optimizer = self._build_optimizer()
        self._wrapped = self._processes.wrap(self._network, device)
        self._precision = _precision(recipe.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._precision is torch.float16)
        self._epoch, self._step = 0, 0
        self._history: list[dict[str, object]] = []
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._figures: Figures | None = None

    # What is learned

    def _prepare_labels(self) -> None:
        examples, recipe = self._examples, self.recipe
        training = [example.split == "train" for example in examples]
        self._training = np.flatnonzero(training)
        self._validation = np.flatnonzero(~np.array(training))
        if self._validation_triplets is not None:
            self._validation = np.unique(self._validation_triplets)
        self._labels: dict[str, Tensor] = {}
        self._columns: list[Column] = []
        for name, aspect, weight in recipe.columns:
            cells = [example.labels.get(name, "") for example in examples]
            numbers = classes(cells, training)
            self._labels[name] = torch.from_numpy(numbers)
            self._columns.append(Column(name, int(numbers.max()) + 1, aspect, weight))
        items = alone(codes([example.item for example in examples]))
        groups = alone(codes([example.group or example.item for example in examples]))
        self._items, self._groups = torch.from_numpy(items), torch.from_numpy(groups)
        if recipe.batch_size % (6 * self._processes.count):
            raise RecipeError(
                f"batch_size is {recipe.batch_size}. It must divide by {6 * self._processes.count}:"
                f" pairs or triplets, dealt to {self._processes.count} processes."
            )
        self._curriculum = self._build_curriculum()
        self.steps_per_epoch = self._curriculum.steps_per_epoch
        self.steps = self.steps_per_epoch * recipe.epochs

    def _build_curriculum(self) -> Curriculum:
        recipe, examples = self.recipe, self._examples
        column = recipe.columns[0][0] if recipe.columns else None
        size, seed = recipe.batch_size, recipe.seed
        if self._given_triplets is not None:
            return GivenTriplets(self._given_triplets, batch_size=size, seed=seed)
        if recipe.uses_triplets:
            miner = Miner(examples, column=column, method=recipe.mining, seed=seed)
            return MinedTriplets(miner, batch_size=size, seed=seed)
        sampler = PairSampler(examples, column=column, weights=recipe.source_weights, seed=seed)
        return Pairs(sampler, batch_size=size)

    def _build_optimizer(self) -> torch.optim.Optimizer:
        learned = [weight for weight in self._network.parameters() if weight.requires_grad]
        return torch.optim.AdamW(
            [
                {
                    "params": [weight for weight in learned if weight.ndim > 1],
                    "weight_decay": self.recipe.weight_decay,
                },
                {
                    "params": [
                        *(weight for weight in learned if weight.ndim <= 1),
                        *self._loss.parameters(),
                    ],
                    "weight_decay": 0.0,
                },
            ],
            lr=self.recipe.learning_rate,
            betas=(0.9, 0.98),
        )

    # The run

    def run(self) -> Result:
        """Trains to the end, or until the figures stay worse for `patience` epochs.

        Raises Diverged when the loss is no longer a number.
        """
        self._resume()
        while self._epoch < self.recipe.epochs and not self._is_stale():
            self._train_epoch()
            self._finish_epoch()
        return self._result()

    def _train_epoch(self) -> None:
        first = self._step - self._epoch * self.steps_per_epoch
        if first == 0:
            self._prepare_epoch()
        saved = time.monotonic()
        recent: list[float] = []
        with tqdm(
            total=self.steps_per_epoch * self.recipe.batch_size,
            initial=first * self.recipe.batch_size,
            desc=f"epoch {self._epoch + 1}/{self.recipe.epochs}",
            unit=" pictures",
            disable=not (self._progress and self._processes.leads),
        ) as bar:
            for place in range(first, self.steps_per_epoch):
                size = self.recipe.batch_size
                loss = self._train_step(self._curriculum.rows(self._epoch, place, size))
                recent.append(loss)
                self._step += 1
                bar.update(self.recipe.batch_size)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if self._step % LOG_STEPS == 0:
                    self._log(kind="step", loss=sum(recent) / len(recent))
                    recent.clear()
                if time.monotonic() - saved > self._checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()

    def _train_step(self, rows: Rows) -> float:
        rate = schedule.learning_rate(self.recipe.learning_rate, self._step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Dropout draws from torch's own generator: seeded by the step, it repeats after a resume.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self._step)
        side = schedule.size(self.recipe.sizes, self._step, self.steps)
        self._wrapped.train()
        vectors = self._vectors(rows, side)
        batch = Batch(
            {name: self._drawn(cells[rows]) for name, cells in self._labels.items()},
            self._groups[rows].to(self._device),
            self._items[rows].to(self._device),
        )
        loss = self._loss(vectors, batch)
        if not torch.isfinite(loss):
            raise Diverged(
                f"The loss is {loss.item()} at step {self._step}. Lower the learning rate "
                f"({self.recipe.learning_rate}), or use the precision fp32."
            )
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average.update_parameters(self._network)
        return float(loss.item())

    def _drawn(self, cells: Tensor) -> Tensor:
        """Returns one class (n,) of each row's (n, most classes), -1 where there is none.

        On average over the steps that is the soft target of arXiv 1805.00932, 1 / k for each of k.
        """
        counts = (cells >= 0).sum(1)
        drawn = (torch.rand(len(cells)) * counts).long()
        return cells.gather(1, drawn[:, None])[:, 0].to(self._device)

    def _vectors(self, rows: Rows, side: int) -> Tensor:
        """Returns the vectors of all rows; each process computes a part of each third or half."""
        own = _dealt(rows, self._processes)
        generator = torch.Generator().manual_seed(
            (self.recipe.seed * 1_000_003 + self._step) * 64 + self._processes.rank
        )
        chosen = torch.from_numpy(self._pictures[own]).to(self._device)
        queries, mates = chosen.tensor_split([len(chosen) // self._curriculum.parts])
        pictures = torch.cat(
            [LIGHT.apply(queries, side, generator), STRONG.apply(mates, side, generator)]
        )
        with torch.autocast(
            self._device.type, self._precision, enabled=self._precision is not torch.float32
        ):
            output = self._wrapped(_shown(pictures))
        gathered = self._processes.gather(functional.normalize(output.float()))
        return gathered[_order(len(rows), self._processes)]

    def _prepare_epoch(self) -> None:
        encode = partial(self.encode, self._training, averaged=False) if self._step else None
        mined = self._curriculum.prepare(self._epoch, encode, self._processes)
        if mined is not None:
            self._log(
                kind="mined",
                method=mined.method,
                triplets=len(mined.triplets),
                mean_distance=mined.mean_distance,
                skipped=mined.skipped,
            )

    def encode(self, rows: Rows, *, averaged: bool = True) -> NDArray[np.float32]:
        """Returns the vectors (rows, dimensions), of length 1, of pictures that aren't changed."""
        network = self._average.module if averaged else self._network
        network.eval()
        vectors = []
        with torch.inference_mode():
            for batch in pixels.shown(self._pictures, rows, self.recipe.encoder_size):
                output = network(_shown(batch.to(self._device)))
                vectors.append(functional.normalize(output.float()).cpu())
        return torch.cat(vectors).numpy()

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Returns an example's decoded picture (side, side, 3)."""
        return self._pictures[row, :, :, :3]

    # What is kept

    def _finish_epoch(self) -> None:
        self._epoch += 1
        if len(self._validation):
            found = self._processes.agree(self._validate)
            self._log(kind="epoch", figures=dict(found.values))
            if self._best is None or found.headline > self._best[0]:
                self._best = (found.headline, self._epoch, _copy(self._average.module))
                self._figures = found
        else:
            self._best = (0.0, self._epoch, _copy(self._average.module))
        self._save()

    def _validate(self) -> Figures:
        shown = [self._examples[row] for row in self._validation.tolist()]
        columns = [name for name, cells in self._labels.items() if cells.shape[1] == 1]
        triplets = self._validation_triplets
        if triplets is not None:
            triplets = np.searchsorted(self._validation, triplets)
        return figures(self.encode(self._validation), shown, columns, triplets)

    def _is_stale(self) -> bool:
        patience = self.recipe.patience
        if patience is None or self._best is None:
            return False
        return self._epoch - self._best[1] >= patience

    def _result(self) -> Result:
        network, epoch = self._average.module, self._epoch
        if self._best is not None:
            _, epoch, weights = self._best
            network.load_state_dict(weights)
        return Result(network.eval().cpu(), epoch, self._figures, self._history)

    def _log(self, **values: object) -> None:
        line: dict[str, object] = {"step": self._step, "epoch": self._epoch, **values}
        self._history.append(line)
        if not self._processes.leads:
            return
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._on_scalars is not None:
            numbers = {name: value for name, value in values.items() if isinstance(value, float)}
            self._on_scalars(self._step, numbers)

    def _save(self) -> None:
        given = self._curriculum.state
        if self._processes.leads:
            checkpoints.save(
                self._folder,
                {
                    "run": self._run,
                    "epoch": self._epoch,
                    "step": self._step,
                    "network": self._network.state_dict(),
                    "average": self._average.state_dict(),
                    "loss": self._loss.state_dict(),
                    "optimizer": self._optimizer.state_dict(),
                    "scaler": self._scaler.state_dict(),
                    "curriculum": None if given is None else torch.from_numpy(given),
                    "history": self._history,
                    "best": self._best,
                    "figures": None if self._figures is None else dict(self._figures.values),
                },
            )

    def _resume(self) -> None:
        state = checkpoints.load(self._folder, self._run)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._loss.load_state_dict(state["loss"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._epoch, self._step = state["epoch"], state["step"]
        if state["curriculum"] is not None:
            self._curriculum.state = state["curriculum"].numpy()
        self._history, self._best = state["history"], state["best"]
        self._figures = None if state["figures"] is None else Figures(state["figures"])
        if self._processes.leads:
            # Lines after the checkpoint are written again.
            lines = "".join(json.dumps(line) + "\n" for line in self._history)
            (self._folder / "log.jsonl").write_text(lines, encoding="utf-8")


def _average(averaged: Tensors, weights: Tensors, count: Tensor | int) -> None:
    """Moves the average towards the weights, faster in the first steps, which it should forget."""
    steps = float(count)
    decay = min(AVERAGE, (1 + steps) / (10 + steps))
    get_ema_multi_avg_fn(decay)(averaged, weights, count)  # type: ignore[no-untyped-call]


def _shown(pictures: Tensor) -> Tensor:
    return ((pictures - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def _dealt(rows: Rows, processes: Processes) -> Rows:
    return rows[processes.rank :: processes.count]


def _order(count: int, processes: Processes) -> Tensor:
    """Returns where each row's vector lies among those that the processes gathered."""
    dealt = np.concatenate(
        [np.arange(count)[rank :: processes.count] for rank in range(processes.count)]
    )
    return torch.from_numpy(np.argsort(dealt))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if bf16 else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
