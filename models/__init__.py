"""Flax networks: the Wide ResNet, optionally with adaptive activations, and its variants for local training."""

from models._adaptive_activation import AdaptiveActivation, is_slope, slope_recovery
from models._associated import AssociatedWideResNet, associated_labels
from models._partitioned import PartitionedWideResNet, partition_of
from models._wide_resnet import BATCH_NORM_MOMENTUM, WideResNet, flops_per_image

__all__ = [
    "BATCH_NORM_MOMENTUM",
    "AdaptiveActivation",
    "AssociatedWideResNet",
    "PartitionedWideResNet",
    "WideResNet",
    "associated_labels",
    "flops_per_image",
    "is_slope",
    "partition_of",
    "slope_recovery",
]
