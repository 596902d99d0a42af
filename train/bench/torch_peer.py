"""The same training in PyTorch, in two versions.

Both use the images, crops, flips, normalisation, loss, learning rate and weight decay of the JAX program. Only
`AuthorsPeer` picks the momentum by the loss, as LCAM does. The random numbers differ. This module imports no JAX,
because the data loader's worker imports it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from train.bench.torch_network import WideResNet
from train.experiments import Experiment


class TunedPeer:
    """Training as fast as PyTorch allows.

    All data and all augmentation are on the device, and nothing is fetched from it. Images are in channels_last, the
    optimizer is fused, and autocast computes in bfloat16 if the experiment says so. Augmentation, network and loss can
    be compiled as one function.

    Args:
      experiment: Network, batch size, crops, normalisation, dtype and optimizer.
      images: Training images, uint8 [N, H, W, C].
      labels: Training labels, int32 [N].
      num_classes: Number of classes.
      compiled: Whether to use `torch.compile`, which needs a C++ compiler on a CPU.
    """

    def __init__(
        self, experiment: Experiment, images: np.ndarray, labels: np.ndarray, num_classes: int, *, compiled: bool
    ):
        torch.backends.cudnn.benchmark = True
        self._experiment, self.device = experiment, device()
        self.model = _model(experiment, images, num_classes).to(self.device, memory_format=torch.channels_last)
        self._optimizer = _sgd(experiment, self.model, fused=True)
        padding = experiment.crop_padding
        padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        self._images = torch.from_numpy(padded).to(self.device)
        self._labels = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        self._shape = images.shape[1:3]
        self._scale, self._offset = (x.to(self.device) for x in _scale_and_offset(experiment))
        self._loss_of = torch.compile(self._loss) if compiled else self._loss
        self._batches = self._forever()

    def take(self, steps: int) -> torch.Tensor:
        """Take some steps, wait for them, and return the last loss in nats."""
        for _ in range(steps):
            images, labels = next(self._batches)
            number = len(labels)
            span = 2 * self._experiment.crop_padding + 1
            corners = torch.randint(span, (2, number), device=self.device)
            mirrored = torch.rand(number, device=self.device) < 0.5
            loss = self._loss_of(images, labels, corners, mirrored)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
        wait()
        return loss.detach()

    def _loss(
        self, images: torch.Tensor, labels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor
    ) -> torch.Tensor:
        """Crop every padded image, flip some of them, normalise, and compute the mean cross-entropy."""
        height, width = self._shape
        rows = corners[0][:, None, None] + torch.arange(height, device=images.device)[:, None]
        columns = corners[1][:, None, None] + torch.arange(width, device=images.device)
        x = images[torch.arange(len(labels), device=images.device)[:, None, None], rows, columns]
        if self._experiment.flip:
            x = torch.where(mirrored[:, None, None, None], x.flip(2), x)
        x = x.float() * self._scale - self._offset
        half = self._experiment.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            # A view of NHWC images as NCHW is in channels_last.
            logits = self.model(x.permute(0, 3, 1, 2))
        return functional.cross_entropy(logits.float(), labels)

    def _forever(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield batches without end, each epoch in a new order."""
        size = self._experiment.batch_size
        while True:
            order = torch.randperm(len(self._labels), device=self.device)
            for start in range(0, len(order) - size + 1, size):
                index = order[start : start + size]
                yield self._images[index], self._labels[index]


class AuthorsPeer:
    """Training as the authors' scripts do it: float32, eager, with one loader worker.

    Each step fetches its loss to pick the momentum. Two things are faster here than in the authors' scripts: the worker
    augments tensors instead of PIL images, and it keeps running between epochs.

    Args:
      experiment: Network, batch size, crops, normalisation and optimizer.
      images: Training images, uint8 [N, H, W, C].
      labels: Training labels, int32 [N].
      num_classes: Number of classes.
    """

    def __init__(self, experiment: Experiment, images: np.ndarray, labels: np.ndarray, num_classes: int):
        self._experiment, self.device = experiment, device()
        self.model = _model(experiment, images, num_classes).to(self.device)
        self._optimizer = _sgd(experiment, self.model, fused=False)
        self._loader = torch.utils.data.DataLoader(
            Augmented(experiment, images, labels),
            batch_size=experiment.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=1,
            persistent_workers=True,
            pin_memory=self.device.type == "cuda",
            # JAX has running threads, and a process with running threads must not be forked.
            multiprocessing_context="spawn",
        )
        self._batches = iter(self._loader)
        self._losses: list[float] = []

    def take(self, steps: int) -> float:
        """Take some steps, wait for them, and return the last loss in nats."""
        for _ in range(steps):
            images, labels = self._next_batch()
            loss = functional.cross_entropy(self.model(images.to(self.device)), labels.to(self.device))
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._pick_momentum(loss.item())
        wait()
        return self._losses[-1]

    def close(self) -> None:
        """Stop the loader's worker."""
        del self._batches, self._loader

    def _next_batch(self) -> Any:
        try:
            return next(self._batches)
        except StopIteration:
            self._losses.clear()
            self._batches = iter(self._loader)
            return next(self._batches)

    def _pick_momentum(self, loss: float) -> None:
        self._losses.append(loss)
        below = loss < sum(self._losses) / len(self._losses)
        for group in self._optimizer.param_groups:
            group["momentum"] = self._experiment.momentum_below if below else self._experiment.momentum_above


class Augmented(torch.utils.data.Dataset):
    """Images that the loader's worker crops, flips and normalises one by one."""

    def __init__(self, experiment: Experiment, images: np.ndarray, labels: np.ndarray):
        self._experiment, self._images, self._labels = experiment, images, labels.astype(np.int64)
        self._scale, self._offset = (x[:, None, None] for x in _scale_and_offset(experiment))

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return a float32 image, [C, H, W], and its label."""
        image = torch.from_numpy(self._images[index]).permute(2, 0, 1)
        padding = self._experiment.crop_padding
        top, left = torch.randint(2 * padding + 1, (2,)).tolist()
        padded = functional.pad(image, (padding,) * 4)
        image = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
        if self._experiment.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return image.float() * self._scale - self._offset, int(self._labels[index])


def device() -> torch.device:
    """The GPU if PyTorch has one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _model(experiment: Experiment, images: np.ndarray, num_classes: int) -> Any:  # PyTorch's types lack memory_format
    return WideResNet(experiment.depth, experiment.width, num_classes, images.shape[-1]).train()


def _sgd(experiment: Experiment, model: nn.Module, *, fused: bool) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=experiment.learning_rate,
        momentum=experiment.momentum_below,
        weight_decay=experiment.weight_decay,
        fused=fused,
    )


def _scale_and_offset(experiment: Experiment) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `scale` and `offset`, float32 [C], such that pixel * scale - offset is (pixel / 255 - mean) / std."""
    mean, std = torch.tensor(experiment.mean), torch.tensor(experiment.std)
    return 1 / (255 * std), mean / std
