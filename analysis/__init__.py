"""Results -> statistics -> figures, tables, claims, report.

    python -m analysis results/NAME

Reads `runs.parquet` and `curves.parquet` of one or more studies and nothing else.

From Python: study = analysis.load("results/NAME"), study.runs, study.curves, analysis.figure("beta_profile", study).
"""

import importlib
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data import StudyError, load
    from .panel import figure
else:

    def __getattr__(name):
        """Looked up when asked for: matplotlib takes a second to import."""
        if name in __all__:
            with warnings.catch_warnings():
                importlib.import_module(".defaults", __name__).calm()
                return getattr(importlib.import_module(".panel" if name == "figure" else ".data", __name__), name)
        raise AttributeError(f"module 'analysis' has no attribute '{name}'")


__all__ = ["StudyError", "figure", "load"]
