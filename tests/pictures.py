"""The pictures of the README: python -m tests.pictures STORE, after `indelible --store STORE demo`.

Needs Chromium. Writes docs/pictures/report.png, the first screen of the report, and
docs/pictures/audited.png, for which it audits two sweeps of the store.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from PIL import Image

from analysis.figures import as_png, audited
from analysis.warehouse import open_warehouse

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
WIDTH, HEIGHT = 1300, 970  # of the report's first screen, in pixels of CSS
COLOURS = 256  # of a picture: files in git are to be small
FLIP = "demo-250-ga"  # a sweep
AUDITED = {FLIP: "ga, at the flip", "demo-250-reference": "ga, until the reference"}  # by sweep


def main(store: Path) -> None:
    report = store / "report" / "report.html"
    if not report.is_file():
        sys.exit(f"{report} is not there: give a folder after 'indelible --store FOLDER demo'")
    PICTURES.mkdir(parents=True, exist_ok=True)
    screenshot(report, PICTURES / "report.png", WIDTH, HEIGHT)
    draw_audits(store, PICTURES / "audited.png")


def draw_audits(store: Path, picture: Path) -> None:
    """The demo's samples with ga, as the reference models stand that forgot them in either way."""
    at_flip = ("sweep", "--algorithm", "ga", "--samples", "250", "--name", FLIP)  # it is all there
    run("--store", str(store), *at_flip)
    for name in AUDITED:
        run("--store", str(store), "audit", "--sweep", name)
    run("--store", str(store), "load")
    rows = []
    with open_warehouse(store / "analysis.duckdb") as warehouse:
        for name, title in AUDITED.items():
            (row,) = warehouse.report("audited", sweep=warehouse.sweep_id(name)).records()
            rows.append(row | {"algorithm": title})
    picture.write_bytes(as_png(partial(audited, rows)))
    reduce_colours(picture)


def run(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "indelible", *arguments], check=True)


def screenshot(page: Path, picture: Path, width: int, height: int) -> None:
    """A page as Chromium draws it, as a PNG with few colours."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is needed: apt-get install chromium")
    flags = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=9000"
    size = f"--window-size={width},{height}"
    command = [chromium, *flags.split(), size, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    reduce_colours(picture)


def reduce_colours(picture: Path) -> None:
    """Make a PNG small."""
    with Image.open(picture) as drawn:
        drawn.convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("mlruns"))
