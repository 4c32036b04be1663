"""What commands import on their way, for processes that begin with it: see `forked`."""

import jinja2  # noqa: F401
import pyarrow.dataset  # noqa: F401
import sklearn.datasets  # noqa: F401 - the digits
import torch._dynamo  # noqa: F401 - by the first optimiser
import vl_convert  # noqa: F401

import analysis.figures
import analysis.report  # noqa: F401
import tracker.base.training
import tracker.cli
import tracker.reading.checking
import tracker.reading.publishing
import tracker.studies.predict
import tracker.sweep.sweep  # noqa: F401
from tests import shortcuts

shortcuts.take()
shortcuts.migrated()
