"""What the user has set for matplotlib, NumPy, pandas, Python or the shell changes no figure and fails nothing."""

import os
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as tree
from pathlib import Path

import matplotlib
import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
import seaborn
import synthetic
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import analysis
from analysis import style
from analysis.__main__ import main
from analysis.defaults import defaults

HOSTILE = {
    "text.usetex": True,
    "font.size": 30,
    "font.family": "monospace",
    "lines.linewidth": 9,
    "axes.facecolor": "black",
    "axes.prop_cycle": matplotlib.cycler(color=["red"]),
    "axes.formatter.use_locale": True,
    "axes.unicode_minus": False,
    "savefig.bbox": "tight",
    "savefig.dpi": 7,
    "svg.fonttype": "none",
    "svg.hashsalt": None,
    "path.sketch": (1, 100, 2),
    "figure.autolayout": True,
    "figure.constrained_layout.use": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    arms = [synthetic.TRPO, synthetic.ADAPTIVE, *synthetic.fixed([1.0, 10.0])]
    return synthetic.write(
        tmp_path_factory.mktemp("defaults") / "s",
        *synthetic.study(synthetic.QUICK_TASKS[:1], arms, seeds=2, iterations=20),
    )


def files(folder, out, kinds=("svg", "png", "eps")):
    study = analysis.load(folder)
    for name in ("learning_curves", "beta_profile"):
        for kind in kinds:
            style.write(analysis.figure(name, study), out / f"{name}.{kind}")
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_the_settings_of_a_notebook_change_no_bit_and_stay_as_they_were(folder, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "hostile").mkdir()
    plain = files(folder, tmp_path / "plain")
    with (
        matplotlib.rc_context(),
        np.errstate(all="raise"),
        np.printoptions(precision=1),
        pd.option_context("display.precision", 1, "display.max_colwidth", 3, "compute.use_bottleneck", False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # pandas': the option will go
        before = pd.get_option("future.infer_string")
        pd.set_option("future.infer_string", False)
        warnings.simplefilter("error")
        seaborn.set_theme(style="dark", palette="pastel", font_scale=3)
        matplotlib.rcParams.update(HOSTILE)
        rc, filters = dict(matplotlib.rcParams), list(warnings.filters)
        try:
            assert files(folder, tmp_path / "hostile") == plain
            assert dict(matplotlib.rcParams) == rc and warnings.filters == filters
            assert np.geterr()["divide"] == "raise" and pd.get_option("display.precision") == 1
            assert pd.Series(["a"]).dtype == object
        finally:
            warnings.simplefilter("ignore")
            pd.set_option("future.infer_string", before)


BOTH = """import runpy, sys
folder, *outs = sys.argv[1:]
for out in outs:
    sys.argv = ["analysis", "figure", "learning_curves", folder, "--out", out]
    try:
        runpy.run_module("analysis", run_name="__main__")
    except SystemExit as end:
        assert not end.code
"""  # python -m analysis ..., in one process


def test_the_settings_of_a_shell_change_no_bit(folder, tmp_path):
    """Of what `python -m analysis figure` draws here."""
    rc = tmp_path / "matplotlibrc"
    rc.write_text("".join(f"{key}: {value}\n" for key, value in HOSTILE.items() if isinstance(value, bool | int)))
    (fonts := tmp_path / ".cache/matplotlib").mkdir(parents=True)
    for known in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):  # to look for them again takes seconds
        shutil.copy(known, fonts)
    hostile = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MATPLOTLIBRC": str(rc),
        "MPLBACKEND": "nonsense",
        "SOURCE_DATE_EPOCH": "1000000000",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONWARNINGS": "error",
        "PYTHONHASHSEED": "7",
        "TZ": "Pacific/Kiritimati",
        "COLUMNS": "1",
        "NO_COLOR": "1",
    }
    for kind in ("svg", "png"):
        assert main(["figure", "learning_curves", str(folder), "--out", str(tmp_path / f"plain β.{kind}")]) == 0
    words = ["-c", BOTH, str(folder), *(str(tmp_path / f"hostile β.{kind}") for kind in ("svg", "png"))]
    done = subprocess.run([sys.executable, *words], env=hostile, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for kind in ("svg", "png"):
        assert (tmp_path / f"hostile β.{kind}").read_bytes() == (tmp_path / f"plain β.{kind}").read_bytes()


def test_a_style_that_asks_for_latex_where_there_is_none_is_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "tex.mplstyle").write_text("text.usetex: True\n")
    words = ["--style", str(tmp_path / "tex.mplstyle"), "--out", str(tmp_path / "a.pdf")]
    assert main(["figure", "learning_curves", str(folder), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --style") and error.count("\n") == 1 and "latex" in error


def test_defaults_are_nested_and_put_back_after_an_error():
    with pd.option_context("display.precision", 1), pytest.raises(KeyError), defaults(), defaults():
        assert pd.get_option("display.precision") == 6
        raise KeyError
    assert pd.get_option("display.precision") == 6


# Names in figures

NASTY = (
    "a$\\frac$", "$x$", "100 % of_it & #1", "^~<b>{}|\\", "'\"`", "\U0001f600 你好", "שלום", "\u202eabc", "a\nb\tc",
    "\x00\x1b[2J", "x" * 300, "你" * 300, "long words " * 30, "_hidden", "-1", "=1+1", "\\$", "\\\\$ $", " ",
)  # fmt: skip
LABELS = st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


def named(frame):
    """A figure with a name as title, tick, legend entry and text."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    for i, name in enumerate(frame["task"]):
        ax.plot([0, i], label=name)
        ax.text(0, i, name)
    ax.set_title(frame["task"].iloc[0])
    ax.set_yticks(range(len(frame)), frame["task"])
    style.legend_below(figure, [ax])
    return figure


@settings(max_examples=10, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=3, unique=True))
@example(list(NASTY))
def test_every_name_is_drawn_as_it_is_or_by_its_letters_numbers(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = [style.letters(name) for name in names]
        assert len(set(shown)) == len(names)
        assert all(len(text) <= 2 * style.LONGEST["label"] and text.isprintable() or "\u200b" in text for text in shown)
        figure = style.drawn(named, pd.DataFrame({"task": names}))
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(shown)
    assert not any(matplotlib.cbook.is_math_text(text) for text in shown)


def test_a_figure_with_any_name_is_a_file(tmp_path, monkeypatch):
    svg = style.save(style.drawn(named, pd.DataFrame({"task": NASTY})), tmp_path / "names")
    tree.fromstring(svg)
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    assert style.save(style.drawn(named, pd.DataFrame({"task": NASTY})), tmp_path / "again") == svg


def test_names_without_anything_odd_are_left_alone():
    for name in ("kl_fixed beta=3 advantage_normalization=none", "hopper, rewards × 100", "β=3", "ALE/Pong-v5"):
        assert style.letters(name) == name
    assert style.letters("a$b") == r"a\$b" and style.letters("a\nb") == "a‹U+000A›b"
