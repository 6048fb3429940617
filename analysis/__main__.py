"""Command line: python -m analysis [results/NAME ...], and python -m analysis figure NAME [results/NAME ...]"""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import yaml

from .data import EVIDENCE, StudyError, load
from .defaults import calm

FORMATS = ("pdf", "svg", "png", "eps")


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    run, parser = (_figure, figure_parser()) if arguments[:1] == ["figure"] else (_report, report_parser())
    options = parser.parse_args(arguments[1:] if run is _figure else arguments)
    try:
        run(options)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def report_parser():
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Report of one or more studies: figures, tables, questions and answers.",
        epilog="One figure for a paper: python -m analysis figure --help",
    )
    parser.add_argument(
        "studies",
        nargs="*",
        help="directories with runs.parquet and curves.parquet (default: all committed studies, "
        "with the figures that pages show: results/figures.yaml)",
    )
    parser.add_argument(
        "--out", type=Path, help="directory of the report (default: report/ in the first study, or beside all of them)"
    )
    parser.add_argument("--strict", action="store_true", help="fail when a run is missing")
    parser.add_argument(
        "--whole-seeds", action="store_true", help="use only the seeds that are complete in every task and arm"
    )
    return parser


def figure_parser():
    parser = argparse.ArgumentParser(
        prog="python -m analysis figure", description="One figure of the report as a file, as wide as it is printed."
    )
    parser.add_argument("name", metavar="NAME", help="of the figure; a wrong one lists those there are")
    parser.add_argument(
        "studies", nargs="*", help="directories with runs.parquet and curves.parquet (default: all committed studies)"
    )
    parser.add_argument("--width", type=float, help="inches (default: 7.2, the text width of a two-column paper)")
    parser.add_argument("--arms", nargs="+", help="as the column arm calls them, or algorithms (default: all)")
    parser.add_argument("--tasks", nargs="+", help="(default: all)")
    parser.add_argument("--format", choices=FORMATS, help="(default: that of --out, else pdf)")
    parser.add_argument("--style", help="a style of matplotlib: a file or a name")
    parser.add_argument("--out", type=Path, help="file (default: NAME.FORMAT in this folder)")
    parser.add_argument(
        "--whole-seeds", action="store_true", help="use only the seeds that are complete in every task and arm"
    )
    return parser


def _report(options):
    from .report import build

    study = load(options.studies or None, options.whole_seeds)
    first = Path(options.studies[0]) if options.studies else EVIDENCE
    path = build(study, options.out or first / "report", options.strict)
    print(f"report: {path}")
    if not options.studies and options.out is None:
        from . import dataset

        _figures_of_pages()
        print(*dataset.describe(EVIDENCE), sep="\n")


def _figures_of_pages():
    """Draws what results/figures.yaml names, each from the studies it names."""
    from . import panel, style

    named = yaml.safe_load((EVIDENCE / "figures.yaml").read_text(encoding="utf-8"))
    for place, names in named.items():
        folder, _, figure = place.rpartition("/")
        study = load([EVIDENCE / name for name in names])
        path = EVIDENCE / folder / "report/figures" / figure
        path.parent.mkdir(parents=True, exist_ok=True)
        style.save(panel.figure(figure, study), path)
        print(f"figure: {path}.png")


def _figure(options):
    from . import panel, style

    kind = options.format or (options.out.suffix[1:].lower() if options.out else "") or "pdf"
    if kind not in FORMATS:
        raise StudyError(f"no format {kind!r}; there are {', '.join(FORMATS)}")
    path = options.out or Path(options.name)
    path = path if path.suffix == f".{kind}" else path.with_name(f"{path.name}.{kind}")
    if options.width is not None and not options.width >= 2:
        raise StudyError(f"--width {options.width:g}: a figure is at least 2 inches wide")
    panel.named(options.name)
    study = load(options.studies or None, options.whole_seeds)
    try:
        drawn = panel.figure(options.name, study, options.width, options.arms, options.tasks, options.style)
        style.write(drawn, path, options.style)
    except OSError as error:
        raise StudyError(" ".join(str(error).split())) from None
    except RuntimeError as error:  # a style that asks for LaTeX where there is none
        if options.style is None:
            raise
        raise StudyError(" ".join(f"--style {options.style}: {error}".split())) from None
    print(f"figure: {path}")


def fit():
    """Makes of this process one that the user's settings of Python and matplotlib do not reach."""
    calm()
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = str(Path(find_spec("matplotlib").origin).parent / "mpl-data/matplotlibrc")
    sys.stdout.reconfigure(errors="backslashreplace")  # in a locale without some letters


def script():
    fit()
    sys.exit(main())


if __name__ == "__main__":
    script()
