"""CIFAR-10: 60,000 coloured images of 32x32 pixels in 10 classes."""

from unlearning.datasets._torchvision import HALVES, FromTorchvision

DATASET = FromTorchvision("cifar10", "CIFAR10", HALVES, "cifar-10-batches-py", training=45_000)
