"""What a tuning found, as the file of a preset and as rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tracker.base.base_models import BaseRun
from tracker.sweep.trials import ENOUGH, Trial
from tracker.studies.tune import DEFAULTS, Found, Tuned
from unlearning.hyperparameters import Setting

BEGINS = "# Found by 'indelible tune'"  # a file that may be written anew
BARE = re.compile("[A-Za-z0-9_-]+")  # what TOML takes for a key without quotes


def rows(tuned: Tuned) -> list[dict[str, Any]]:
    """A row for each algorithm: what was found, beside the best that is shipped."""
    return [
        {
            "algorithm": found.task.name,
            "flip_rate": found.best.flip_rate,
            "points_lost": found.best.points_lost,
            "prob_lost": found.best.prob_lost,
            "shipped": found.best_shipped,
            "shipped_flip_rate": found.shipped[found.best_shipped].flip_rate,
            "shipped_points_lost": found.shipped[found.best_shipped].points_lost,
            "trials": found.trials,
            "seconds": found.seconds,
            "settings": found.settings(),
        }
        for found in tuned.found
    ]


def as_toml(tuned: Tuned, base_run: BaseRun) -> bytes:
    """The file of a preset that `sweep --preset` takes; the same for the same tuning."""
    return "\n".join([*_head(tuned, base_run), *_tables(tuned)]).encode()


def _head(tuned: Tuned, base_run: BaseRun) -> Iterator[str]:
    info, data = tuned.run.info, tuned.run.data
    day = datetime.fromtimestamp(info.start_time / 1000, UTC)
    params = data.params
    yield _comment(f"{BEGINS.removeprefix('# ')} ({data.tags['code_version']}), {day:%Y-%m-%d}.")
    yield "#"
    yield _comment(f"base model {base_run.run_id} ({base_run.name}: {params['dataset']},")
    yield _comment(f"{params['arch']}, {params['precision']}), weights {base_run.weights_sha256}")
    yield _comment(f"tuning {info.run_id}: seed {params['seed']}, {params['sampler']}")
    yield "#"
    yield _comment(f"Tried on {params['samples']} training samples that it gets right. Of the")
    yield _comment(f"settings that flip {ENOUGH:.0%} of them, those that lose the fewest points of")
    yield _comment(
        "test accuracy on average; where none do, those that flip the most. Nothing else"
    )
    yield _comment("was looked at, no factor and no correlation.")


def _tables(tuned: Tuned) -> Iterator[str]:
    for found in tuned.found:
        name = found.task.name
        yield ""
        yield _comment(f"{name}, of {found.trials} settings: {_verdict(found)}")
        for preset, trial in found.shipped.items():
            given = f", changed to {found.given}" if found.given else ""
            yield _comment(f"  {_named(preset)}{given}: {_came_to(trial)}")
        if not found.settings():
            continue
        yield f"[{_key(name)}]"
        for setting, value in found.settings().items():
            yield f"{_key(setting)} = {_value(value)}"
    yield ""


def _verdict(found: Found) -> str:
    if found.flips_nothing:
        return f"none flips a sample; it keeps {kept(found)}"
    said = _came_to(found.best)
    return said if found.best.is_enough else f"{said}, the most that was found"


def kept(found: Found) -> str:
    """What an algorithm keeps of which nothing flips a sample, in words."""
    return "its defaults" + (f", with {found.given}" if found.given else "")


def _came_to(trial: Trial) -> str:
    return f"flips {trial.flip_rate:.0%}, loses {trial.points_lost:.2f} points"


def _named(preset: str) -> str:
    return "its defaults" if preset == DEFAULTS else f"preset {preset}"


def _comment(text: str) -> str:
    """A line that TOML leaves out, whatever the names in it are."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"# {shown}".encode("utf-8", "replace").decode()


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else json.dumps(name)


def _value(value: Setting) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
