"""Trains a network on decoded pictures, step by step, and goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..encoders.networks.aspectnet import AspectNet
from ..exceptions import CardiganError
from . import checkpoints, curriculum, losses, optimizer, schedule
from .average import Average
from .examples import Example
from .forward import Forward
from .history import History
from .processes import Processes
from .recipe import Recipe
from .sampling import Rows
from .targets import Targets
from .validation import Figures, Validation

GRADIENT_NORM = 5.0
LOG_STEPS = 5
WHITENED = 10_000
"""Pictures, of those that are learned from, which tell what designs have in common."""


class Diverged(CardiganError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Result:
    """A finished training."""

    network: nn.Module
    """The averaged network of the best epoch, as it is to be used, on the CPU."""
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
        pictures: NDArray[np.uint8],
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
        is_trained: bool = False,
    ) -> None:
        """`pictures`: (examples, side, side, 4) of `pixels.decode()`; `folder`: for log and state.

        `triplets`: (count, 3) rows that are learned as they are; without them a triplet loss mines
        its own. `validation_triplets` are measured in place of a validation split.
        `run` describes data and recipe, and a checkpoint of another run is refused.
        `on_scalars` is called with the step and the log's numbers. `is_trained`: whether the
        network has learned before, so that its vectors tell where classes begin.
        """
        self.recipe = recipe
        self._examples = examples
        self._pictures = pictures
        self._folder = folder
        self._device = device
        self._processes = processes or Processes()
        self._run = run or {}
        self._is_trained = is_trained
        self._progress = progress
        self._checkpoint_seconds = checkpoint_minutes * 60
        self._training = np.flatnonzero([example.split == "train" for example in examples])
        torch.manual_seed(recipe.seed)
        self._targets = Targets.of(examples, recipe)
        self._curriculum = curriculum.build(recipe, examples, triplets)
        self.steps_per_epoch = self._curriculum.steps_per_epoch
        self.steps = self.steps_per_epoch * recipe.epochs
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss = losses.build(
            recipe.loss,
            self._targets.columns,
            dimensions=recipe.dimensions,
            aspects=getattr(network, "aspects", {}),
            margin=recipe.margin,
            contrast=recipe.contrast,
            temperature=recipe.temperature,
        ).to(device)
        self._average = Average(network, self._loss)
        self._optimizer = optimizer.build(
            network,
            self._loss,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self._wrapped = self._processes.wrap(self._network, device)
        self._forward = Forward(
            pictures,
            wild=np.array([example.source in recipe.wild_sources for example in examples]),
            device=device,
            precision=recipe.precision,
            processes=self._processes,
            progress=progress and self._processes.leads,
        )
        self._validation = Validation(
            examples,
            self._targets.plain,
            self._forward,
            side=recipe.encoder_size,
            triplets=validation_triplets,
            processes=self._processes,
        )
        half = self._forward.precision is torch.float16
        self._scaler = torch.amp.GradScaler(device.type, enabled=half)
        self._history = History(folder if self._processes.leads else None, on_scalars)
        self._epoch, self._step = 0, 0
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._figures: Figures | None = None

    def run(self) -> Result:
        """Trains to the end, or until the figures stay worse for `patience` epochs.

        Raises Diverged when the loss is no longer a number.
        """
        if not self._resume() and self._is_trained:
            self._imprint()
        while self._epoch < self.recipe.epochs and not self._is_stale():
            self._train_epoch()
            self._finish_epoch()
        return self._result()

    def encode(self, network: nn.Module, rows: Rows) -> NDArray[np.float32]:
        """Returns the vectors (rows, dimensions), of length 1, of pictures that aren't changed."""
        network = network.to(self._device)
        return self._forward.encode(network, rows, side=self.recipe.encoder_size)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Returns an example's decoded picture (side, side, 3)."""
        return self._pictures[row, :, :, :3]

    # Learning

    def _imprint(self) -> None:
        if isinstance(self._loss, losses.LabelledLoss):
            vectors = self._forward.encode_together(
                self._network, self._training, side=self.recipe.encoder_size
            )
            labels = {
                name: cells[self._training].to(self._device)
                for name, cells in self._targets.labels.items()
            }
            self._loss.imprint(torch.from_numpy(vectors).to(self._device), labels)

    def _train_epoch(self) -> None:
        first = self._step - self._epoch * self.steps_per_epoch
        if first == 0:
            self._prepare_epoch()
        saved = time.monotonic()
        recent: list[float] = []
        size = self.recipe.batch_size
        with tqdm(
            total=self.steps_per_epoch * size,
            initial=first * size,
            desc=f"epoch {self._epoch + 1}/{self.recipe.epochs}",
            unit=" pictures",
            disable=not (self._progress and self._processes.leads),
        ) as bar:
            for place in range(first, self.steps_per_epoch):
                loss = self._train_step(self._curriculum.rows(self._epoch, place, size))
                recent.append(loss)
                self._step += 1
                bar.update(size)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if self._step % LOG_STEPS == 0:
                    self._log(kind="step", loss=sum(recent) / len(recent))
                    recent.clear()
                if time.monotonic() - saved > self._checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()

    def _prepare_epoch(self) -> None:
        encode = partial(
            self._forward.encode_together,
            self._network,
            self._training,
            side=self.recipe.encoder_size,
        )
        mined = self._curriculum.prepare(
            self._epoch, encode if self._step else None, self._processes
        )
        if mined is not None:
            told = {} if mined.mean_distance is None else {"mean_distance": mined.mean_distance}
            self._log(
                kind="mined",
                method=mined.method,
                triplets=len(mined.triplets),
                skipped=mined.skipped,
                **told,
            )

    def _train_step(self, rows: Rows) -> float:
        rate = schedule.learning_rate(self.recipe.learning_rate, self._step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Dropout draws from torch's own generator: seeded by the step, it repeats after a resume.
        seed = self.recipe.seed * 1_000_003 + self._step
        torch.manual_seed(seed)
        side = schedule.size(self.recipe.sizes, self._step, self.steps)
        self._wrapped.train()
        parts = self._curriculum.parts
        vectors, told = self._forward.changed(
            self._wrapped, rows, side=side, parts=parts, seed=seed
        )
        loss = self._loss(vectors, self._targets.batch(told, self._device))
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
        self._average.update(self._network, self._loss)
        return float(loss.item())

    # Judging

    def _finish_epoch(self) -> None:
        self._epoch += 1
        network, headline = self._average.finished(), 0.0
        found = self._validation.measure(network)
        if found is not None:
            headline = found.headline
            self._log(kind="epoch", figures=dict(found.values))
        if found is None or self._best is None or headline > self._best[0]:
            self._best = (headline, self._epoch, _copy(network))
            self._figures = found
        self._save()

    def _is_stale(self) -> bool:
        patience = self.recipe.patience
        if patience is None or self._best is None:
            return False
        return self._epoch - self._best[1] >= patience

    def _result(self) -> Result:
        network, epoch, found = self._average.finished(), self._epoch, self._figures
        if self._best is not None:
            _, epoch, weights = self._best
            network.load_state_dict(weights)
        if isinstance(network, AspectNet):
            self._whiten(network)
            found = self._validation.measure(network)
            if found is not None:
                self._log(kind="whitened", figures=dict(found.values))
        return Result(network.cpu(), epoch, found, self._history.lines)

    def _whiten(self, network: AspectNet) -> None:
        rows = self._training
        if len(rows) > WHITENED:
            rows = np.random.default_rng(self.recipe.seed).choice(rows, WHITENED, replace=False)
        vectors = self._forward.encode_together(network, rows, side=self.recipe.encoder_size)
        network.whiten(torch.from_numpy(vectors).to(self._device))

    # Keeping

    def _log(self, **values: object) -> None:
        self._history.add(self._step, self._epoch, **values)

    def _save(self) -> None:
        if not self._processes.leads:
            return
        given = self._curriculum.state
        checkpoints.save(
            self._folder,
            {
                "run": self._run,
                "epoch": self._epoch,
                "step": self._step,
                **{name: part.state_dict() for name, part in self._parts().items()},
                "curriculum": None if given is None else torch.from_numpy(given),
                "history": self._history.lines,
                "best": self._best,
                "figures": None if self._figures is None else dict(self._figures.values),
            },
        )

    def _resume(self) -> bool:
        """Goes on from the checkpoint; returns whether there is one."""
        state = checkpoints.load(self._folder, self._run)
        if state is None:
            self._history.resume([])
            return False
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._epoch, self._step = state["epoch"], state["step"]
        if state["curriculum"] is not None:
            self._curriculum.state = state["curriculum"].numpy()
        self._best = state["best"]
        self._figures = None if state["figures"] is None else Figures(state["figures"])
        self._history.resume(state["history"])
        return True

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.amp.GradScaler]:
        """Returns what has a state of its own, by its name in a checkpoint."""
        return {
            "network": self._network,
            "average": self._average.network,
            "loss": self._loss,
            "average_loss": self._average.loss,
            "optimizer": self._optimizer,
            "scaler": self._scaler,
        }


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
