"""The network of `models.WideResNet` in PyTorch."""

import torch
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions, each preceded by batch norm and ReLU, with a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, 1)
        widens = stride != 1 or in_channels != channels
        self.shortcut = _conv(in_channels, channels, 1, stride) if widens else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, channels, H / stride, W / stride]."""
        y = torch.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return shortcut + self.conv2(torch.relu(self.norm2(self.conv1(y))))


class WideResNet(nn.Module):
    """The network of `models.WideResNet`, for images [N, C, H, W]."""

    def __init__(self, depth: int, width: int, num_classes: int, in_channels: int):
        super().__init__()
        self.stem = _conv(in_channels, 16, 3, 1)
        blocks, channels = [], 16
        for group, stride in enumerate((1, 2, 2)):
            for index in range((depth - 4) // 6):
                wider = 16 * 2**group * width
                blocks.append(Block(channels, wider, stride if index == 0 else 1))
                channels = wider
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to logits, [N, num_classes]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(torch.relu(self.norm(x)).mean((2, 3)))


def _conv(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
