"""Data sets from tables: Parquet and CSV."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from unlearning import datasets
from unlearning.datasets import Source
from unlearning.errors import UserError

ROWS: dict[str, Any] = {
    "height": [1.5, 2.25, 0.1, 4.0, 0.3, 0.2, 1e6, 3.0],
    "count": [1, 2, 3, 4, 5, 6, 7, 8],
    "flag": [True, False, True, True, False, True, False, True],
    "colour": ["red", "blue", "red", "grün", "blue", "red", "red", "blue"],
    "always": [0.1] * 8,
    "kind": ["cat", "dog", "cat", "dog", "cat", "dog", "cat", "dog"],
    "part": ["train", "train", "test", "train", "train", "train", "test", "train"],
}
SOURCE = Source(label="kind", split_column="part")
DRAWN = [0, 1, 3, 4, 5, 7]


def parquet(folder: Path, rows: Mapping[str, Any] = ROWS, name: str = "pets.parquet") -> str:
    pyarrow.parquet.write_table(pa.table(dict(rows)), folder / name)
    return f"table:{folder / name}"


def csv(folder: Path, rows: Mapping[str, Any] = ROWS, name: str = "pets.csv") -> str:
    pyarrow.csv.write_csv(pa.table(dict(rows)), folder / name)
    return f"table:{folder / name}"


def refusal(name: str, source: Source = SOURCE) -> str:
    with pytest.raises(UserError) as error:
        datasets.load(name, source)
    assert "\n" not in str(error.value)
    return str(error.value)


def by_hand() -> dict[tuple[str, str | None], list[float]]:
    """Each feature standardised, all rows, with Python's own fractions."""
    found: dict[tuple[str, str | None], list[float]] = {}
    for name, values in ROWS.items():
        if name in ("kind", "part"):
            continue
        is_text = isinstance(values[0], str)
        kinds = sorted({*values}) if is_text else [None]
        parts = [(k, [float(v == k) if is_text else float(v) for v in values]) for k in kinds]
        for category, numbers in parts:
            own = [numbers[row] for row in DRAWN]
            spread = statistics.pstdev(own) or 1.0
            found[name, category] = [(v - statistics.fmean(own)) / spread for v in numbers]
    return found


def test_columns_become_standardised_features(tmp_path: Path) -> None:
    found, expected = datasets.load(parquet(tmp_path), SOURCE), by_hand()
    assert (found.name, found.classes, found.white) == ("table-pets", ("cat", "dog"), 1)
    assert list(found.columns) == [*ROWS][:5]
    assert found.image_shape == (7, 1, 1)
    assert found.train.ids.tolist() == DRAWN
    assert found.test.ids.tolist() == [2, 6]
    assert found.train.labels.tolist() == [0, 1, 1, 0, 1, 1]
    for split in (found.train, found.test):
        inputs = found.inputs(split)
        assert inputs.dtype == torch.float32
        rows = np.array([*expected.values()]).T[split.ids]
        np.testing.assert_allclose(inputs.flatten(1).numpy(), rows, rtol=1e-6, atol=1e-7)
    assert not found.inputs(found.train)[:, -1].any()


def test_inputs_are_made_of_columns_as_features_say(tmp_path: Path) -> None:
    found = datasets.load(parquet(tmp_path), SOURCE)
    for place, feature in enumerate(found.features):
        column = found.columns[feature["column"]]
        values = column if feature["text"] is None else column == feature["text"]
        made = (values.astype(float) - feature["mean"]) / feature["scale"]
        for split in (found.train, found.test):
            inputs = found.inputs(split)[:, place].flatten().tolist()
            assert inputs == pytest.approx(made.iloc[split.ids].tolist(), rel=1e-6)
    assert len(found.features) == found.image_shape[0]


def test_a_row_is_what_the_file_says(tmp_path: Path) -> None:
    found = datasets.load(parquet(tmp_path), SOURCE)
    assert found.row_of(3) == "height 4, count 4, flag True, colour grün, always 0.1"
    assert found.row_of(7) == "height 3, count 8, flag True, colour blue, always 0.1"
    wide = ROWS | {f"more {n}": list(range(8)) for n in range(30)}
    assert str(datasets.load(parquet(tmp_path, wide), SOURCE).row_of(0)).endswith(", and 11 more")
    assert datasets.load("digits").row_of(0) is None


def test_parquet_and_csv_of_the_same_are_the_same(tmp_path: Path) -> None:
    first = datasets.load(parquet(tmp_path), SOURCE)
    encoded = ROWS | {
        "colour": pa.array(ROWS["colour"]).dictionary_encode(),
        "kind": pa.array(ROWS["kind"], pa.large_string()),
        "count": pa.array(ROWS["count"], pa.uint8()),
    }
    for name in (csv(tmp_path), parquet(tmp_path, encoded, "other pets.pq")):
        assert datasets.load(name, SOURCE).fingerprint == first.fingerprint
    shifted = ROWS | {"count": [2, *ROWS["count"][1:]]}
    assert datasets.load(parquet(tmp_path, shifted), SOURCE).fingerprint != first.fingerprint


def test_it_is_described_and_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path)
    monkeypatch.chdir(tmp_path)
    few = dataclasses.replace(SOURCE, train_samples=4)
    first = datasets.load("table:pets.parquet", few)
    said = datasets.described("table:pets.parquet", few)
    monkeypatch.chdir("/")
    assert datasets.load_described(said).fingerprint == first.fingerprint
    every = datasets.load(f"table:{tmp_path / 'pets.parquet'}", SOURCE).train
    rows = every.positions(first.train.ids.tolist())
    assert torch.equal(first.train.images, every.images[rows])  # by the mean of all of them


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10.0, 9.0, -1.0, 10.0, 9.0, -1.0], ("-1", "9", "10")),
        (["10", "9", "-1", "10", "9", "-1"], ("-1", "10", "9")),
    ],
)
def test_classes_are_in_order(labels: list[Any], classes: tuple[str, ...], tmp_path: Path) -> None:
    rows = {"x": list(range(6)), "y": labels, "p": ["train"] * 3 + ["test"] * 3}
    found = datasets.load(parquet(tmp_path, rows), Source(label="y", split_column="p"))
    assert found.classes == classes
    named = [n if isinstance(n, str) else str(int(n)) for n in labels[:3]]
    assert [found.classes[label] for label in found.train.labels] == named


def with_(**columns: list[Any]) -> Mapping[str, Any]:
    return {**ROWS, **columns}


BAD: dict[str, tuple[Mapping[str, Any], str]] = {
    "null": (with_(height=[None, None, *range(6)]), "column 'height' misses 2 of 8 values"),
    "huge": (with_(height=[1e308, -1e308, *range(6)]), "column 'height' has infinite"),
    "dates": (with_(height=[date(2020, 1, 1)] * 8), "column 'height' is date: it takes"),
    "fractions": (with_(kind=[0.5, 1.0] * 4), "column 'kind' has fractions"),
    "only test": (with_(kind=[*"abxababb"]), "the label x is in the test samples only"),
    "no test": (with_(part=["train"] * 8), "8 training rows and 0 test rows"),
    "other parts": (with_(part=["train", "val"] * 4), "'part' has 'val': --split-column takes"),
    "split": (with_(split=["train", "test"] * 4), "holds train and test: give --split-column"),
}


def test_bad_columns_are_refused_in_one_line(tmp_path: Path) -> None:
    for rows, said in BAD.values():
        assert said in refusal(parquet(tmp_path, rows))


def test_bad_options_are_refused_in_one_line(tmp_path: Path) -> None:
    name = parquet(tmp_path)
    assert "--label is not given: choose one of height, count, " in refusal(name, Source())
    assert "--label 'nope' is no column" in refusal(name, Source(label="nope"))
    assert "--label is for a data set table:PATH" in refusal("digits", Source(label="kind"))
    assert "No such file or directory" in refusal(f"table:{tmp_path / 'x.csv'}")
    many = {"x": [f"{n % 101}!" for n in range(300)], "y": [n % 2 for n in range(300)]}
    said = refusal(parquet(tmp_path, many), Source(label="y"))
    assert "has 101 different texts: it takes 100 at most" in said
    only = parquet(tmp_path, {"kind": ["a", "b"]})
    assert "others for features" in refusal(only, Source(label="kind"))


FILES = {
    "empty": (b"", "Empty CSV file"),
    "cut": (b"PAR1 and nothing more", "cannot be read"),
    "index": (b",x,kind,part\n0,1,a,train\n1,2,b,test\n", "pandas writes its index"),
    "NA": (b"x,kind,part\nr,a,train\nNA,b,train\nr,a,test\n", "column 'x' misses 1"),
}


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for content, said in FILES.values():
        (tmp_path / "pets.csv").write_bytes(content)
        assert said in refusal(f"table:{tmp_path / 'pets.csv'}")


def test_csv_decides_on_types_by_all_rows(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'ab'[n % 2]},x{n % 7}\n" for n in range(100_000))
    (tmp_path / "pets.csv").write_text(f'n,kind,code\n{rows}0.5,a,"NA"\n')
    found = datasets.load(f"table:{tmp_path / 'pets.csv'}", Source(label="kind"))
    assert found.image_shape == (9, 1, 1)
