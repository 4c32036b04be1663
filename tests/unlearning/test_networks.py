"""Networks of timm and torchvision by name: a stack equals a plain loop, in either precision."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import factors
from factors.family import NO_HEAD, columns, pre_values
from tests.unlearning.plain_loops import loop
from tracker.base.importing import import_weights
from unlearning import algorithms, architectures, models, registry
from unlearning.architectures.libraries import entrance
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.hyperparameters import Setting
from unlearning.several import unlearn_at_once

CPU = torch.device("cpu")
NO_TIMM = importlib.util.find_spec("timm") is None
timm = pytest.mark.skipif(NO_TIMM, reason="needs timm: pip install 'indelible[timm]'")
TIMM = (
    "vit_tiny_patch16_224?depth=2&embed_dim=24&patch_size=8",
    "deit_tiny_distilled_patch16_224?depth=1&embed_dim=24&patch_size=8",
    "swin_tiny_patch4_window7_224?depths=[1,1]&embed_dim=8&num_heads=[2,2]&window_size=4",
    "convnext_atto?depths=[1,1,1,1]&dims=[8,8,8,8]",
    "resnet18?layers=[1,1,1,1]&channels=[8,16,24,32]",
)
MORE = (  # which are slow, or like others
    "deit3_small_patch16_224?depth=2&embed_dim=24&num_heads=3&patch_size=8",
    "edgenext_xx_small",
    "mobilenetv3_small_050",
    "cait_xxs24_224?depth=1&embed_dim=24&num_heads=2&patch_size=8",
    "densenet121?block_config=[1,1]&growth_rate=4",
)
NAMES = [
    *(pytest.param(f"timm:{name}", marks=timm) for name in TIMM),
    *(pytest.param(f"timm:{name}", marks=[timm, pytest.mark.slow]) for name in MORE),
    *("torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_1"),
]
SETTINGS: dict[str, Setting] = {
    "optimizer": "sgd",
    "lr": 0.5,
    "max_steps": 2,
    "alpha": 0.5,
    "retain_batch": 2,
}
FAMILIES = [f for f in factors.families() if f.phase == "pre" and f.of_companions is None]
WITHIN = {torch.float64: 1e-9, torch.float32: 1e-5}


def data(labels: Tensor | None = None, channels: int = 3) -> Dataset:
    """Ten images of 32x32 that are noise."""
    images = torch.randint(256, (10, channels, 32, 32), generator=torch.Generator().manual_seed(0))
    split = Split.of(images.to(torch.uint8), torch.arange(10) if labels is None else labels)
    return Dataset("noise", split, split, tuple("0123456789"), white=255)


def base_of(arch: str, dtype: torch.dtype = torch.float64, channels: int = 3) -> BaseModel:
    """A network that gets all of ten images right, for these have the labels that it gives them."""
    network = models.build(arch, data(channels=channels)).eval()
    with torch.no_grad():
        found = network(data(channels=channels).inputs(data(channels=channels).train))
    return BaseModel(network.to(dtype), data(found.argmax(dim=1), channels), CPU)


@pytest.mark.parametrize("arch", NAMES)
def test_a_stack_equals_a_plain_loop(arch: str) -> None:
    for dtype, tolerance in WITHIN.items():
        base = base_of(arch, dtype)
        assert base.stacks
        algorithm = algorithms.get("neggrad").from_text(SETTINGS)
        result = unlearn(base, algorithm, torch.arange(2), 0, Execution.STACKED)
        assert result.moved.all()
        for member in range(2):
            expected = loop(base, algorithm, member, 0, result.details, member)
            assert int(result.steps[member]) == expected.steps
            weights = {n: p.detach() for n, p in expected.model.named_parameters()}
            found = result.state_of(member)
            error = max(float((w - found[n]).abs().max()) for n, w in weights.items())
            largest = max(float(w.abs().max()) for w in weights.values())
            assert error <= tolerance * largest, dtype


OWN = """
import torch
from torch import nn

class Attentive(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 2, 16, dropout=0, batch_first=True)
        self.last = nn.Linear(32, classes)

    def forward(self, images):
        return self.last(self.layer(images[:, 0]).mean(dim=1))

class Recurrent(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.rows, self.last = nn.LSTM(96, 8, batch_first=True), nn.Linear(8, classes)

    def forward(self, images):
        return self.last(self.rows(images.transpose(1, 2).flatten(2))[0][:, -1])

class Writing(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.first, self.last = nn.Linear(3072, 8), nn.Linear(8, classes)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, images):
        found = self.first(images.flatten(1)).relu()
        self.seen += found.detach().mean(dim=0)
        return self.last(found)

class Opaque(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.last = nn.Linear(3072, classes)

    def forward(self, images):
        return torch.from_numpy(self.last(images.flatten(1)).detach().numpy()) + self.last.bias
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--arch` calls networks of one's own, up to the last colon."""
    (tmp_path / "unstacked_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unstacked_nets", raising=False)
    registry.remark.cache_clear()
    return "module:unstacked_nets"


@pytest.mark.parametrize("name", ["Recurrent", "Writing"])
def test_what_vmap_cannot_do_is_done_one_by_one_and_said_once(
    own: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = base_of(f"{own}:{name}")
    algorithm = algorithms.get("neggrad").from_text(SETTINGS)
    result = unlearn(base, algorithm, torch.arange(2), 0, Execution.STACKED)
    for member in range(2):
        expected = loop(base, algorithm, member, 0, result.details, member)
        for key, weights in expected.model.named_parameters():
            torch.testing.assert_close(result.state_of(member)[key], weights.detach())
    before = {key: value.clone() for key, value in base.network.state_dict().items()}
    salun = algorithms.get("salun").from_text({"max_steps": 1})
    assert unlearn_at_once(base, base.state, salun, torch.arange(2), torch.arange(2), 0).moved.all()
    values = pre_values(base, FAMILIES, torch.arange(2))
    assert values["grad_norm"].isfinite().all()
    assert all(torch.equal(base.network.state_dict()[key], before[key]) for key in before)
    assert [record.message.count("one by one, not stacked") for record in caplog.records] == [1]


def test_attention_has_all_factors_and_is_the_same_stacked_and_one_by_one(own: str) -> None:
    base, positions = base_of(f"{own}:Attentive"), torch.arange(3)
    assert pre_values(base, FAMILIES, positions)["own_curvature"].isfinite().all()
    ga = algorithms.get("ga").from_text({"lr": 1e-3, "max_steps": 3})
    stacked, alone = (unlearn(base, ga, positions, 0, execution) for execution in Execution)
    for name, weights in stacked.params.items():
        torch.testing.assert_close(weights, alone.params[name], rtol=1e-6, atol=1e-8)


def test_only_what_torch_func_cannot_differentiate_is_refused(own: str) -> None:
    with pytest.raises(UserError, match=r"has no gradients under torch\.func"):
        base_of(f"{own}:Opaque")


def test_without_a_last_linear_layer_features_are_undefined_and_nothing_else() -> None:
    base = base_of("torchvision:squeezenet1_1")
    assert base.head is None
    with pytest.raises(UserError, match="straight out of a linear layer"):
        base.head_parameters  # noqa: B018
    values = pre_values(base, FAMILIES, torch.arange(2))
    undefined = {column.name for column in columns() if NO_HEAD in column.undefined}
    for name, value in values.items():
        if name in undefined:
            assert value.isnan().all(), name
    assert {"knn_agreement", "kde_density", "last_layer_grad_norm"} <= undefined
    assert values["grad_norm"].isfinite().all()


def test_a_grey_image_is_given_in_three_channels_and_normalised() -> None:
    base = base_of("torchvision:shufflenet_v2_x0_5", channels=1)
    hook = entrance(base.network)
    assert hook is not None
    (image,) = base.train_inputs[:1]
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for channel, found in enumerate(hook(base.network, (image[None],))[0]):
        torch.testing.assert_close(found, (image[0] - mean[channel]) / std[channel])
    assert str(hook) == "mean 0.485, 0.456, 0.406 and deviation 0.229, 0.224, 0.225"


def test_options_are_a_part_of_the_name_in_the_order_of_their_keys() -> None:
    named = architectures.with_options("timm:convnext_atto?patch_size=4", ["patch_size=2", "a=x"])
    assert named == "timm:convnext_atto?a=x&patch_size=2"
    assert architectures.as_name(named) == "timm-convnext_atto-a-x-patch_size-2"
    assert architectures.with_options("mlp", []) == "mlp"
    for wrong in ("a", "a=", "=1", "a b=1"):
        with pytest.raises(UserError, match="is no option of an architecture"):
            architectures.with_options("mlp", [wrong])
    network: Any = models.build("torchvision:squeezenet1_1?dropout=0.1", data())
    assert network.classifier[0].p == 0.1
    network = models.build("resnet18?stem=imagenet", data())
    assert network.conv1.stride == (2, 2)


def test_a_name_is_suggested_and_listed_without_an_import() -> None:
    with pytest.raises(UserError, match=r"none of \d+ networks .* \(did you mean 'resnet18'\?\)"):
        architectures.get("torchvision:resnt18")
    listed = "from unlearning.architectures import every_name; import sys; print(len(every_name())"
    done = subprocess.run(
        [sys.executable, "-c", f"{listed}, 'torch' in sys.modules)"], capture_output=True, text=True
    )
    count, imported = done.stdout.split()
    assert int(count) > 80
    assert imported == "False"
    assert architectures.provider("torchvision:resnet18?a=1") is not None


@timm
def test_timm_is_told_size_channels_and_classes_and_takes_a_tag() -> None:
    named = "timm:vit_tiny_patch16_224.augreg_in21k?depth=1"
    network: Any = models.build(named, data(channels=1))
    assert network.patch_embed.img_size == (32, 32)
    assert network.patch_embed.proj.in_channels == 1
    assert network.head.out_features == 10
    assert str(entrance(network)) == "mean 0.5 and deviation 0.5"
    with pytest.raises(UserError, match="cannot be made from an image shape"):
        models.build("timm:resnet10t.nothing", data())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "in_library", lambda library: [])
    with pytest.raises(UserError, match=r"needs timm, which is not installed: pip install"):
        architectures.get("timm:resnet18")


def test_weights_of_other_classes_are_refused_by_their_number(tmp_path: Path) -> None:
    network = models.build("torchvision:shufflenet_v2_x0_5", data())
    weights = network.state_dict()
    save_file(weights, tmp_path / "ours.safetensors")
    assert import_weights(tmp_path / "ours.safetensors", network)[0].keys() == weights.keys()
    many = {"fc.weight": torch.zeros(1000, 1024), "fc.bias": torch.zeros(1000)}
    save_file(weights | many, tmp_path / "theirs.safetensors")
    with pytest.raises(UserError, match="is for 1000 classes, and the data set has 10"):
        import_weights(tmp_path / "theirs.safetensors", network)
