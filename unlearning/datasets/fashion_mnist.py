"""Fashion-MNIST: 70,000 grey images of 28x28 pixels, a piece of clothing each."""

from unlearning.datasets._torchvision import HALVES, FromTorchvision

DATASET = FromTorchvision("fashion-mnist", "FashionMNIST", HALVES, "FashionMNIST/raw", 54_000)
