"""The pictures of the README: python -m tests.pictures STORE, after `indelible --store STORE demo`.

Needs Chromium. Writes docs/pictures/report.png, the first screen of the report, and
docs/pictures/rank.png, what a terminal shows of the hardest samples.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
WIDTH, HEIGHT = 1300, 750  # of the report's first screen, in pixels of CSS
COLOURS = 256  # of a picture: files in git are to be small
COLUMNS = 80
TERMINAL = """<body style="margin:0;background:#16181d;color:#dfe3ea"><pre style="margin:0;
padding:14px 18px;font:15px/1.35 'DejaVu Sans Mono',monospace">{}</pre></body>"""


def main(store: Path) -> None:
    report = store / "report" / "report.html"
    if not report.is_file():
        sys.exit(f"{report} is not there: give a folder after 'indelible --store FOLDER demo'")
    PICTURES.mkdir(parents=True, exist_ok=True)
    screenshot(report, PICTURES / "report.png", WIDTH, HEIGHT)
    lines = said("--store", str(store), "rank", "--sweep", "demo-250", "--top", "10")
    shown = html.escape("$ indelible rank --sweep demo-250 --top 10\n" + lines.rstrip())
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "terminal.html"
        page.write_text(TERMINAL.format(shown), "utf-8")
        screenshot(page, PICTURES / "rank.png", 36 + 9 * COLUMNS, 48 + 20 * shown.count("\n"))


def said(*arguments: str) -> str:
    """What a command prints on a terminal of 80 columns."""
    command = [sys.executable, "-m", "indelible", *arguments]
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def screenshot(page: Path, picture: Path, width: int, height: int) -> None:
    """A page as Chromium draws it, as a PNG with few colours."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is needed: apt-get install chromium")
    flags = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=9000"
    size = f"--window-size={width},{height}"
    command = [chromium, *flags.split(), size, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(picture) as drawn:
        drawn.convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("mlruns"))
