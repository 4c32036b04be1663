"""What commands import on their way, for processes that begin with it: see `forked`."""

import sklearn.datasets  # noqa: F401 - the digits

import analysis.figures  # noqa: F401
import tracker.base.training
import tracker.cli
import tracker.reading.checking
import tracker.reading.publishing
import tracker.sweeping.predicting
import tracker.sweeping.sweep  # noqa: F401
