"""Street View House Numbers: 99,289 coloured images of 32x32 pixels, cropped to a digit each."""

from unlearning.datasets._torchvision import FromTorchvision

DATASET = FromTorchvision(
    "svhn",
    "SVHN",
    ({"split": "train"}, {"split": "test"}),
    folder="",
    files=("train_32x32.mat", "test_32x32.mat"),
    training=58_000,
)
