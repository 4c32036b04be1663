"""The card of a predictor: what it was fitted on, how well it knows, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tracker.record.records import code_version
from tracker.sweeping.predictor import FLIPS, OfAlgorithm, Predictor, Target, largest
from tracker.sweeping.regression import FOLDS, Constant

SHOWN = 5  # coefficients of each algorithm, and sweeps that are named
GT = "gt"


def written(predictor: Predictor, bases: Mapping[str, str], sweep_ids: Sequence[str]) -> str:
    """The card, as Markdown.

    Args:
        bases: ids of the base models' runs, by the SHA-256 of their weights.
        sweep_ids: the sweeps whose attempts it was fitted on.
    """
    basis = predictor.basis
    versions = ", ".join(f"{key} {said}" for key, said in sorted(basis.families.items()))
    sections = [
        f"### Predictor of {', '.join(predictor.algorithms)} on {basis.dataset}, {basis.arch}",
        "Ridge regressions of what attempts came to (GT, steps, damage to the test set) and a "
        "logistic one of whether they flip. Features are forecasts of the index and factors that "
        "are known before an attempt, as normal scores of their ranks within the base model. Where "
        "the index has a forecast, the regression corrects it. Elsewhere it is of outcomes' normal "
        "scores, and says nothing beyond the outcomes that were seen.",
        "#### Fitted on",
        *_fitted_on(predictor, bases),
        f"Sweeps: {_named(sweep_ids)}. Engine version {basis.engine_version}, precision "
        f"{basis.precision}, remaining data {basis.remaining}. Code {code_version()}; versions of "
        f"factors: {versions}; of the index: {basis.index[:8]}.",
        "#### How well it knows",
        f"On samples that it was not fitted on, in {FOLDS} folds of samples; how strongly to "
        "shrink was chosen without the fold, too. Spearman's rho with the mean over repeats (95% "
        "interval, by bootstrap over samples), beside the index and the margin alone. Coverage: "
        "the share of single attempts in their 90% interval, whose width came from other folds.",
        "\n".join(_table(predictor)),
        *_flips(predictor),
        "#### The largest standardised coefficients, of GT",
        "Of its normal score, where the index has no forecast.",
        "\n".join(_coefficients(predictor)),
        "#### Not for",
        "Other data sets, architectures or settings of the algorithms, for which it is refused. "
        "Factors are correlated: a coefficient is not the effect of a factor. The intervals hold "
        "for samples drawn as those were that it was fitted on; from another base model they may "
        "not. Where all attempts flip, GT is a matter of damage, and so is this.",
    ]
    return "\n\n".join(sections) + "\n"


def _fitted_on(predictor: Predictor, bases: Mapping[str, str]) -> Iterator[str]:
    for name, of in predictor.algorithms.items():
        from_bases = ", ".join(f"`{bases[weights]}`" for weights in of.fitted_on)
        yield (
            f"- {name}: {len(of.keys)} attempts on {of.samples} samples of base model "
            f"{from_bases}, with {_settings(of)}"
        )


def _settings(of: OfAlgorithm) -> str:
    return ", ".join(f"{name}={value}" for name, value in of.settings.items()) or "no settings"


def _named(sweep_ids: Sequence[str]) -> str:
    more = len(sweep_ids) - SHOWN
    return ", ".join(f"`{i}`" for i in sweep_ids[:SHOWN]) + (
        f" and {more} more" if more > 0 else ""
    )


def _table(predictor: Predictor) -> Iterator[str]:
    yield "| algorithm | target | samples | rho | index | margin | coverage |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, of in predictor.algorithms.items():
        for target, fitted in of.targets.items():
            if target != FLIPS and fitted.model is not None:
                cells = (_rho(fitted, ""), _rho(fitted, "index_"))
                margin, covered = (_number(fitted, key) for key in ("margin_rho", "coverage"))
                yield (
                    f"| {name} | {target} | {fitted.scores['n']:.0f} | {cells[0]} | {cells[1]} | "
                    f"{margin} | {covered} |"
                )


def _rho(fitted: Target, whose: str) -> str:
    rho, low, high = (_number(fitted, f"{whose}{name}") for name in ("rho", "rho_low", "rho_high"))
    return f"{rho} ({low} to {high})" if rho else ""


def _number(fitted: Target, name: str) -> str:
    value = fitted.scores.get(name)
    return "" if value is None else f"{value:.3f}"


def _flips(predictor: Predictor) -> Iterator[str]:
    for name, of in predictor.algorithms.items():
        fitted = of.targets[FLIPS]
        brier, of_rate = (_number(fitted, key) for key in ("brier", "rate_brier"))
        if isinstance(fitted.model, Constant):
            rate = f"{fitted.model.value:.1%}"
            yield f"- {name}: {rate} flipped, which is said of every sample (Brier score {brier})"
        else:
            yield f"- {name}: flips with Brier score {brier}, where their rate alone has {of_rate}"


def _coefficients(predictor: Predictor) -> Iterator[str]:
    for name, of in predictor.algorithms.items():
        weights = [f"{factor} {weight:+.2g}" for factor, weight in largest(of, GT, SHOWN)]
        yield f"- {name}: {', '.join(weights) or 'none'}"
