"""MNIST: 70,000 grey images of 28x28 pixels, a handwritten digit each."""

from unlearning.datasets._torchvision import HALVES, FromTorchvision

DATASET = FromTorchvision("mnist", "MNIST", HALVES, "MNIST/raw", 54_000)
