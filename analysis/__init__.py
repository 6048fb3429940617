"""Results -> statistics -> figures, tables, claims, report.

    python -m analysis results/NAME

Reads `runs.parquet` and `curves.parquet` of one or more studies and nothing else.

From Python: study = analysis.load("results/NAME"), study.runs, study.curves, analysis.figure("beta_profile", study),
analysis.frame(study, "curves") and analysis.to_rliable(study) for other people's plots.
"""

import importlib
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data import StudyError, load
    from .panel import figure
    from .tidy import frame, to_rliable
else:
    PLACES = {"figure": ".panel", "frame": ".tidy", "to_rliable": ".tidy"}

    def __getattr__(name):
        """Looked up when asked for: matplotlib takes a second to import."""
        if name in __all__:
            with warnings.catch_warnings():
                importlib.import_module(".defaults", __name__).calm()
                return getattr(importlib.import_module(PLACES.get(name, ".data"), __name__), name)
        raise AttributeError(f"module 'analysis' has no attribute '{name}'")


__all__ = ["StudyError", "figure", "frame", "load", "to_rliable"]
