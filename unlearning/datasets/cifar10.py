"""CIFAR-10: 60,000 coloured images of 32x32 pixels in 10 classes."""

from unlearning.datasets._torchvision import HALVES, FromTorchvision

DATASET = FromTorchvision(
    "cifar10",
    "CIFAR10",
    HALVES,
    folder="cifar-10-batches-py",
    files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    training=45_000,
)
