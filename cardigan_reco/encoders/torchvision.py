"""Encodes with any classification network of torchvision, its classifier removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from threading import RLock
from typing import TYPE_CHECKING

from PIL import Image

from ..exceptions import EncoderError
from .base import dotted_path, fingerprint
from .network_encoder import NetworkEncoder
from .torchvision_shim import import_torchvision
from .weight_files import WeightFile, open_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks.trunk import Trunk


@dataclass(frozen=True)
class _Source:
    """Where torchvision has the weights, and how their network was shown its pictures."""

    url: str
    image_size: int
    transform: Callable[[Image.Image], Tensor]
    download: Callable[[], dict[str, Tensor]]


class TorchvisionEncoder(NetworkEncoder):
    """Runs a network that others trained, on ImageNet as a rule: a baseline to compare with.

    `dimensions`, `fingerprint` and `min_side` are torchvision's to know, so they import torch.
    """

    describes_itself = False

    def __init__(
        self,
        network: str = "resnet50",
        weights: str | Path = "DEFAULT",
        *,
        sha256: str | None = None,
        device: str = "auto",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        """`network`: a name of `torchvision.models.list_models()`.

        `weights`: a name of torchvision's such as IMAGENET1K_V2, which is downloaded at the first
        `encode()`, or the path of a .safetensors file with the network's state dict, whose
        preprocessing is taken to be that of DEFAULT.
        `sha256`: of that file, 64 hexadecimal digits; another is refused.
        `device`, `batch_size`, `threads`: see NetworkEncoder.
        Raises EncoderError when the file can't be used. An unknown network or name of weights is
        found when torchvision is imported first.
        """
        super().__init__(device=device, batch_size=batch_size, threads=threads)
        self._network = network
        self._weights = str(weights)
        self._file: WeightFile | None = None
        if self._weights.endswith(".safetensors") or "/" in self._weights:
            self._file = open_weights(weights, sha256=sha256)
        elif sha256 is not None:
            raise EncoderError(
                f"sha256 is given, but weights is {self._weights!r}, a name of torchvision's, "
                "whose hash torchvision knows. Give the path of a .safetensors file, or no sha256."
            )
        self._described: tuple[Trunk, _Source] | None = None
        self._description_lock = RLock()

    @property
    def dimensions(self) -> int:
        return self._description()[0].width

    @property
    def fingerprint(self) -> str:
        trunk, source = self._description()
        return fingerprint(
            {
                "backend": dotted_path(self),
                "network": self._network,
                "weights": self._file.sha256 if self._file else source.url,
                "dimensions": trunk.width,
                "preprocessing": repr(source.transform),
            }
        )

    @property
    def min_side(self) -> int | None:
        resize = getattr(self._description()[1].transform, "resize_size", None)
        return max(resize) if resize else None

    def build(self) -> nn.Module:
        trunk, source = self._description()
        tensors = self._file.tensors() if self._file else _download(source)
        head = {f"{trunk.head}.weight", f"{trunk.head}.bias"}
        try:
            trunk.network.load_state_dict(
                {name: tensor for name, tensor in tensors.items() if name not in head}
            )
        except RuntimeError as error:
            raise EncoderError(
                f"The weights {self._weights} don't fit the network {self._network!r}: {error}"
            ) from error
        return trunk.network

    def fit(self, image: Image.Image) -> Image.Image:
        transform = self._description()[1].transform
        size = getattr(transform, "resize_size", None)
        if size is None:
            return image
        functional = import_torchvision(type(self).__name__).transforms.functional
        options = {name: getattr(transform, name) for name in ("interpolation", "antialias")}
        fitted: Image.Image = functional.resize(image, size, **options)
        return fitted

    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        import torch

        transform = self._description()[1].transform
        return torch.stack([transform(image) for image in images])

    def _description(self) -> tuple[Trunk, _Source]:
        with self._description_lock:
            if self._described is None:
                import_torchvision(type(self).__name__)
                from .networks import trunk

                name = "DEFAULT" if self._file else self._weights
                trunk.check(self._network)
                source = _source(self._network, name)
                built = trunk.build(self._network, image_size=source.image_size)
                self._described = (built, source)
            return self._described


def _source(network: str, weights: str) -> _Source:
    models = import_torchvision("TorchvisionEncoder").models
    known = models.get_model_weights(network)
    name = weights.removeprefix(f"{known.__name__}.")
    if name not in known.__members__:
        raise EncoderError(
            f"Network {network!r} has no weights {weights!r}. Choices are: "
            f"{', '.join(known.__members__)}, or the path of a .safetensors file."
        )
    chosen = known[name]

    def download() -> dict[str, Tensor]:
        state: dict[str, Tensor] = chosen.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
        return state

    return _Source(chosen.url, min(chosen.meta["min_size"]), chosen.transforms(), download)


def _download(source: _Source) -> dict[str, Tensor]:
    from torch import hub

    cache = Path(hub.get_dir()) / "checkpoints"
    try:
        return source.download()
    except OSError as error:
        raise EncoderError(
            f"The weights {source.url} can't be downloaded ({error}). Let this machine reach that "
            f"address, or copy the file into {cache}, or set TORCH_HOME to where its "
            "hub/checkpoints is, or give the path of a .safetensors file as the encoder's weights."
        ) from error
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise EncoderError(
            f"What was downloaded from {source.url} is damaged or holds more than tensors. Delete "
            f"{cache / source.url.rpartition('/')[2]}, so that it is downloaded again."
        ) from error
