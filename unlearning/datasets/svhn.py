"""Street View House Numbers: 99,289 coloured images of 32x32 pixels, cropped to a digit each."""

from unlearning.datasets._torchvision import FromTorchvision

DATASET = FromTorchvision("svhn", "SVHN", ({"split": "train"}, {"split": "test"}), "", 58_000)
