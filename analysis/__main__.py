"""Command line: python -m analysis results/NAME [results/OTHER ...] [--strict]"""

import argparse
import sys
from pathlib import Path

from .data import StudyError, load
from .report import build


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Figures, tables, claims and report of one or more studies."
    )
    parser.add_argument("studies", nargs="+", help="directories with runs.parquet and curves.parquet")
    parser.add_argument("--out", type=Path, help="directory of the report (default: report/ in the first study)")
    parser.add_argument("--strict", action="store_true", help="fail when a run is missing")
    parser.add_argument(
        "--whole-seeds", action="store_true", help="use only the seeds that are complete in every task and arm"
    )
    options = parser.parse_args(arguments)
    try:
        study = load(options.studies, options.whole_seeds)
        path = build(study, options.out or Path(options.studies[0]) / "report", options.strict)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"report: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
