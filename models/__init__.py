"""Flax networks to train: the Wide ResNet."""

from models._wide_resnet import WideResNet

__all__ = ["WideResNet"]
