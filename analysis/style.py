"""What all figures share: size, colours, axes and legends. No number is computed here.

Colours: fixed betas form an ordered ramp, light for small and dark for large; every other
algorithm has one colour and one line style of its own (Okabe and Ito's palette, told apart with
any kind of colour vision); TRPO, the reference, is drawn in ink.
"""

import hashlib
import io
import os
import re
import unicodedata
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from itertools import cycle, groupby, product

import matplotlib
import matplotlib.patches
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, StrMethodFormatter

from .defaults import defaults
from .names import arm_name, task_name

INK = "#1b1f24"
FAINT = "#8b9097"
WIDTH = 7.2  # inches: the text width of a two-column paper
NARROW = 5  # inches: below it a figure is for one column of such a paper
available = ContextVar("available", default=WIDTH)  # inches that the figure being drawn may take; at most WIDTH
DOTTED = (0, (2, 1.5))

FORMATS = ("svg", "pdf", "png")
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.4,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "pdf.fonttype": 42,
    "svg.hashsalt": "analysis",
    "figure.constrained_layout.w_pad": 0.08,  # inches; at other resolutions letters are a little wider
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.facecolor": "none",
}
FIXED = "#b8356a"  # fixed beta where all of its values are one thing, and no ramp
ALGORITHM_STYLE = {
    "kl_fixed": (FIXED, "-"),
    "trpo": (INK, "-"),
    "kl_adaptive": ("#0072b2", "--"),
    "clip": ("#009e73", "-."),
    "unpenalised": ("#8b9097", ":"),
    "natural_gradient": ("#56b4e9", (0, (5, 1))),
    "kl_dual": ("#44aa99", (0, (3, 1, 1, 1))),
    "kl_scheduled": ("#cc79a7", (0, (4, 2))),
    "kl_bisect": ("#332288", (0, (6, 1, 1, 1))),
    "kl_replay": ("#882255", (0, (2, 1))),
}
OTHER_COLOURS = ["#88ccee", "#117733", "#ddcc77", "#aa4499", "#999933", "#661100"]
TASK_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#882255", "#e69f00", "#1b1f24"]
TASK_MARKERS = ["", "o", "^", "s", "D"]  # of the tasks that have the first colours, the same colours again, ...
ALGORITHM_ORDER = ["unpenalised", "clip", "kl_adaptive", "kl_fixed", "trpo"]
BETA_RAMP = seaborn.color_palette("flare", as_cmap=True)  # even steps to the eye, light to dark


@contextmanager
def own(style=None):
    """The one style over matplotlib's defaults, whatever the user has set, and no dates; `style` goes over it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "0"  # what EPS takes for now
    try:
        with defaults(), matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            with matplotlib.style.context(style or {}):
                yield
    finally:
        os.environ.pop("SOURCE_DATE_EPOCH")
        os.environ.update({} if epoch is None else {"SOURCE_DATE_EPOCH": epoch})


LONGEST = {"word": 40, "label": 80}  # letters of a name in a figure


def drawable(frame):
    """The frame with each text as a figure can show it (`letters`)."""
    changed = {}
    for name in frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]:
        shown = {text: letters(text) for text in frame[name].unique() if isinstance(text, str)}
        if any(text != other for text, other in shown.items()):
            changed[name] = [shown.get(value, value) for value in frame[name]]
    return frame.assign(**changed)


def letters(text):
    """One line of letters that the font has; those that it lacks, and controls, are named by their numbers: ‹U+4F60›.

    What is too long ends in a digest. Different texts stay different.
    """
    known = _known(*(findfont(FontProperties(weight=weight)) for weight in ("normal", "bold")))

    def there(letter):
        return letter == " " or (ord(letter) in known and unicodedata.category(letter)[0] not in "CZ")

    shown = "".join(
        "".join(some) if fine else f"‹U+{'+'.join(f'{ord(letter):04X}' for letter in some)}›"
        for fine, some in groupby(text, there)
    )
    shown = _short(" ".join(_short(word, "word") for word in shown.split(" ")), "label")
    if matplotlib.rcParams["text.parse_math"]:
        shown = shown.replace("$", r"\$")
    # Matplotlib leaves out of a legend what begins with _.
    return re.sub(r"(^|[\s=.])_", "\\1\N{ZERO WIDTH SPACE}_", shown)


@cache
def _known(*fonts):
    return set.intersection(*(set(get_font(font).get_charmap()) for font in fonts))


def _short(text, kind):
    most = LONGEST[kind]
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return text if len(text) <= most else f"{text[: most - 7]}…{digest}"


def drawn(draw, frame, width=None, style=None) -> Figure:
    """draw(frame) under the one style, its layout fixed so that saving is cheap.

    width  inches; a narrower figure has fewer plots side by side, a wider one is scaled
    style  whatever matplotlib takes for one (a file, a name, a dict); it goes over ours. Raises OSError.
    """
    before = available.set(min(width or WIDTH, WIDTH))
    try:
        with own(style):
            figure = draw(drawable(frame))
            if width is not None:
                figure.set_size_inches(width, figure.get_figheight() * max(1, width / figure.get_figwidth()))
            lay_out(figure)
            if break_long_lines(figure):
                lay_out(figure)
            figure.set_layout_engine("none")
            for ax in figure.axes:  # the last bits of a layout are no part of a file
                ax.set_position(np.round(ax.get_position().bounds, 6))
    finally:
        available.reset(before)
    return figure


def lay_out(figure):
    """What `Figure.draw_without_rendering` does before it draws, which takes a quarter of its time."""
    if figure.axes and (engine := figure.get_layout_engine()) is not None:
        with suppress(ValueError):  # as matplotlib does
            engine.execute(figure)


def break_long_lines(figure):
    """Titles and labels of x that leave their column get more lines, or smaller letters; whether there were any."""
    broken = False
    titles = [ax._left_title for ax in figure.axes if ax._left_title.get_text()]
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        share = figure.bbox.width / spec.get_gridspec().ncols
        first, last = spec.colspan.start * share, spec.colspan.stop * share
        for line in (ax.title, ax._left_title, ax.xaxis.label):
            extent, middle = line.get_window_extent(), sum(ax.get_window_extent().intervalx) / 2
            room = last - extent.x0 if line is ax._left_title else 2 * min(middle - first, last - middle)
            room = max(room, ax.get_window_extent().width)
            if line.get_text() and extent.width > room:
                fit(line, room)
                broken = True
        # Long names that lean to the right: the layout takes a second look to hold them.
        leaning = [label for label in ax.get_xticklabels() if label.get_rotation() and label.get_text()]
        broken |= any(label.get_window_extent().x1 > figure.bbox.x1 for label in leaning)
    for title in titles:  # of one figure, all of one size
        title.set_fontsize(min(each.get_fontsize() for each in titles))
    return broken


def fit(text, room, most=3, sizes=(1.0, 0.9, 0.8, 0.7)):
    """Lets `room` pixels hold a text on at most `most` lines, broken after a sign or before a capital."""
    pieces = re.split(r"(?<= )|(?<=[-/:_.=])(?=[A-Za-z])|(?<=[a-z0-9])(?=[A-Z])", text.get_text())
    if " " in text.get_text() and text.get_text().count(" ") > 1:
        pieces = re.split(r"(?<= )", text.get_text())  # a sentence
    size = text.get_fontsize()
    for share in sizes:
        text.set_fontsize(share * size)
        lines = [""]
        for piece in pieces:
            text.set_text(lines[-1] + piece.rstrip())
            if lines[-1] and text.get_window_extent().width > room:
                lines.append("")
            lines[-1] += piece
        text.set_text("\n".join(line.rstrip() for line in lines))
        if len(lines) <= most and text.get_window_extent().width <= room:
            return


def save(figure, path):
    """Writes SVG, PDF and PNG beside each other and returns the SVG's text.

    No dates inside: the same data give the same files. The canvases are called directly, because
    `savefig` draws every figure twice.
    """
    svg = io.StringIO()
    with own():
        figure.set_facecolor("white")
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
        if "pdf" in FORMATS:
            FigureCanvasPdf(figure).print_pdf(path.with_suffix(".pdf"), metadata={"CreationDate": None})
        if "png" in FORMATS:
            figure.set_dpi(160)
            FigureCanvasAgg(figure).print_png(path.with_suffix(".png"))
    path.with_suffix(".svg").write_text(svg.getvalue(), encoding="utf-8")
    return svg.getvalue()


def write(figure, path, style=None):
    """One file in the format of its suffix, without a date; letters of a PDF stay letters (TrueType)."""
    date = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix)
    with own(style):
        figure.savefig(path, dpi=300, metadata={date: None} if date else None)


def facets(names, height=1.65, columns=4, title=task_name, **options):
    """(figure, {name: axes}): one small plot per name on a grid."""
    names = list(names)
    columns = min(columns, len(names))
    if len(names) in (5, 6):
        columns = 3
    columns = max(1, min(columns, int(available.get() / 1.6)))
    rows = -(-len(names) // columns)
    # A few panels are not stretched over the whole width.
    width = min(available.get(), WIDTH if columns > 2 else 3.6 * columns)
    figure = Figure(figsize=(width, height * rows + 0.75), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = dict(zip(names, grid.flat))
    for name, ax in axes.items():
        ax.set_title(title(name))
    for ax in grid.flat[len(names) :]:
        ax.remove()
    return figure, axes


def side_by_side(count, height, least=2.2, width=WIDTH, **options):
    """(figure, axes) of `count` plots in a row, or below each other where they would be narrower than `least`.

    width  that the figure has where there is room
    """
    rows = 1 if available.get() >= least * count else count
    figure = Figure(figsize=(min(available.get(), width), height * rows), layout="constrained")
    return figure, figure.subplots(rows, count // rows, squeeze=False, **options).flat


def in_view(ax, y, value, low, high, view, size, **options):
    """A point with its interval on a logarithmic axis, all given as log10; arrows where it goes on beyond the view."""
    ax.plot(10 ** np.clip([low, high], *view), [y, y], solid_capstyle="butt", **options)
    ax.plot(10**value, y, "o", ms=size, mew=0, **options)
    for beyond, end, marker in ((low < view[0], view[0], "<"), (high > view[1], view[1], ">")):
        if beyond:
            ax.plot(10**end, y, marker, ms=2.5, mew=0, clip_on=False, **options)


def beta_colours(betas):
    """{beta: colour}, ordered by log beta."""
    betas = sorted(set(betas))
    return {beta: to_hex(BETA_RAMP(i / max(1, len(betas) - 1))) for i, beta in enumerate(betas)}


def task_colours(tasks):
    """{task: colour} in alphabetical order."""
    return dict(zip(sorted(set(tasks)), cycle(TASK_COLOURS)))


def task_markers(tasks):
    """{task: marker}, which tells tasks of one colour apart."""
    return {task: TASK_MARKERS[i // len(TASK_COLOURS) % len(TASK_MARKERS)] for i, task in enumerate(sorted(set(tasks)))}


def task_points(tasks):
    """{task: marker} of points by themselves, all of which need one."""
    return {task: {"": "o", "o": "s"}.get(marker, marker) for task, marker in task_markers(tasks).items()}


def arm_styles(frame):
    """{arm: (colour, line style)} for a frame with arm, algorithm and setting, in the order of legends."""
    arms = frame[["arm", "algorithm", "setting"]].dropna(subset=["arm"]).drop_duplicates()
    rank = arms["algorithm"].map({name: i for i, name in enumerate(ALGORITHM_ORDER)}).fillna(-1)
    arms = arms.assign(rank=rank).sort_values(["rank", "algorithm", "setting"])
    fixed = beta_colours(arms.loc[arms["algorithm"] == "kl_fixed", "setting"])
    styles, others = {}, cycle(OTHER_COLOURS)
    for arm, algorithm, setting, _ in arms.itertuples(index=False):
        usual = ALGORITHM_STYLE.get(algorithm)
        if algorithm == "kl_fixed":
            styles[arm] = (fixed[setting], "-")
        elif usual is None or usual in styles.values():  # one's own, or another arm of an algorithm
            styles[arm] = (next(others), (0, (1, 1)))
        else:
            styles[arm] = usual
    return styles


def by_arm(frame):
    """(arm, rows) in the order of legends."""
    groups = dict(list(frame.groupby("arm")))
    return [(arm, groups[arm]) for arm in arm_styles(frame)]


def arm_curves(frame, label, middle="mean", alpha=0.12, least=1, **options):
    """(figure, {task: axes}): a plot per task over environment steps, a line and a band for each arm.

    middle   column of the line; the band is from `low` to `high`, where an arm has the `least` runs that tell one
    options  of `facets`
    """
    figure, axes = facets(frame["task"].unique(), **options)
    groups = dict(list(frame.groupby(["task", "arm"])))
    for (arm, (colour, line)), (task, ax) in product(arm_styles(frame).items(), axes.items()):
        if (task, arm) in groups:
            curve = groups[task, arm]
            x, thick = curve["env_steps"], 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2
            ax.plot(x, curve[middle], color=colour, ls=line, lw=thick, label=arm_name(arm))
            if curve["runs"].iloc[0] >= least:
                ax.fill_between(x, curve["low"], curve["high"], color=colour, alpha=alpha, lw=0)
    for ax in axes.values():
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.get_major_locator().set_params(nbins=4)
    labels(axes.values(), "environment steps", label)
    legend_below(figure, axes.values(), order=map(arm_name, arm_styles(frame)))
    return figure, axes


def legend_below(figure, axes, most=6, order=()):
    """One legend for all axes, without repeats, under the figure; to be read row by row, as wide as fits.

    order  the labels that come first, in this order
    """
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    entries = {label: entries[label] for label in dict.fromkeys([*order, *entries]) if label in entries}
    tight = {} if available.get() >= NARROW else {"handlelength": 1.6, "columnspacing": 1.0, "handletextpad": 0.5}
    for columns in range(min(most, len(entries)), 0, -1):
        # Matplotlib fills columns first.
        order = [label for column in range(columns) for label in list(entries)[column::columns]]
        handles = [entries[label] for label in order]
        legend = figure.legend(handles, order, loc="outside lower center", ncols=columns, **tight)
        # 0.9: at other resolutions letters are up to a tenth wider.
        if columns == 1 or legend.get_window_extent().width <= 0.9 * figure.bbox.width:
            rows = -(-len(entries) // columns)
            figure.set_figheight(figure.get_figheight() + 0.17 * max(0, rows - 2))  # not at the cost of the panels
            break
        legend.remove()


def power_of_ten(value, _):
    """ "10⁻³" in plain letters, which draw many times faster than mathtext."""
    return (
        "10" + str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if value > 0 else ""
    )


def log_axis(axis, ticks=8):
    """Makes an axis logarithmic: decades as powers of ten, at most `ticks`; below two in view 1, 2 and 5 in plain
    numbers. Call last."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    if high / low < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axis.set_major_locator(LogLocator(numticks=ticks))
        axis.set_major_formatter(FuncFormatter(power_of_ten))
    axis.set_minor_formatter(NullFormatter())


def log_beta_axis(ax, betas):
    """The axis of a number: plain labels where they fit below a small plot, else powers of ten, every second one."""
    low, high = min(betas), max(betas)
    small = low < 0.005
    ax.set_xlim(low / 1.6, high * 1.6)
    log_axis(ax.xaxis, ticks=4 if high / low >= (5e3 if small else 2e4) else 8)
    ax.xaxis.set_major_formatter(FuncFormatter(power_of_ten) if small else StrMethodFormatter("{x:g}"))


def labels(axes, x=None, y=None):
    """x on the lowest plot of each column, y on the first of each row."""
    axes = list(axes)
    for ax in axes:
        spec = ax.get_subplotspec()
        grid = spec.get_gridspec()
        below = [
            other for other in axes
            if other.get_subplotspec().colspan.start == spec.colspan.start
            and other.get_subplotspec().rowspan.start > spec.rowspan.start
        ]  # fmt: skip
        if x and (not below or grid.nrows == 1):
            ax.set_xlabel(x)
            ax.tick_params(labelbottom=True)
        if y and spec.is_first_col():
            ax.set_ylabel(y)


def with_intervals(ax, x, frame, **options):
    """The means of a frame over one of its columns, with a line for each interval that there is."""
    error = np.nan_to_num(np.abs([frame["mean"] - frame["low"], frame["high"] - frame["mean"]]))
    ax.errorbar(frame[x], frame["mean"], error, elinewidth=1, **options)


def possible(ax, frame, below=0.05):
    """Ends of y at the least and most that single runs reached: an interval that leaves the plot goes on beyond it."""
    least, most = frame["least"].min(), frame["most"].max()
    if np.isfinite([least, most]).all():
        room = (most - least) or max(1.0, abs(most))
        ax.set_ylim(least - below * room, most + 0.05 * room)


def label_ends(ax, ends):
    """Task names beside the right ends of lines, none where they are too many to stand below each other.

    `ends` maps a task to (x, y, colour). Log y. Call last.
    """
    ends = {name: end for name, end in ends.items() if np.isfinite(end[1]) and end[1] > 0}
    low, high = np.log10(ax.get_ylim())
    inches = 0.7 * ax.figure.get_figheight() / ax.get_subplotspec().get_gridspec().nrows  # of the axes, roughly
    gap = 8.5 / 72 / inches * (high - low)
    if gap * len(ends) > high - low:
        return
    ends = sorted(ends.items(), key=lambda item: item[1][1])
    places = [np.log10(y) for _, (_, y, _) in ends]
    for i in range(1, len(places)):  # up, where names would touch
        places[i] = max(places[i], places[i - 1] + gap)
    for i in range(len(places) - 1, -1, -1):  # and down again, where they leave the axes
        places[i] = min(places[i], high - gap / 2 - gap * (len(places) - 1 - i))
    for (name, (x, y, colour)), place in zip(ends, places):
        ax.annotate(
            task_name(name), (x, y), (x * 1.03, 10**place), color=colour, fontsize=7, va="center",
            annotation_clip=False,
        )  # fmt: skip


def table_blocks(rows, columns, least=0.3):
    """The columns of a table in blocks that fit below each other, cells at least `least` inches wide."""
    names = 0.25 + 0.058 * max(map(len, rows))  # inches
    blocks = -(-len(columns) // max(1, int((available.get() - names) / least)))
    size = -(-len(columns) // blocks)
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def table_axes(ax, rows, columns):
    """Empty axes for a table of cells with the column names on top."""
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), rows)
    names = [task_name(name) for name in columns]
    # Inches of a name and, roughly, of a cell.
    turn = len(columns) > 3 or 0.058 * max(map(len, names)) > 0.6 * ax.figure.get_figwidth() / len(columns)
    if turn:  # long names lean upwards
        longest = max(map(len, [*names, ""]))
        ax.figure.set_figheight(ax.figure.get_figheight() + 0.04 * max(0, longest - 13))
    ax.set_xticks(range(len(columns)), names, rotation=40 if turn else 0, ha="left" if turn else "center")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def shade(ax, x, y, share, text, colour, bold=False):
    """A cell whose tint grows with `share` (0 to 1); a tint, not a colour map, to keep the text legible."""
    if np.isfinite(share):
        alpha = 0.5 * float(np.clip(share, 0, 1))
        ax.add_patch(matplotlib.patches.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fc=colour, alpha=alpha, lw=0))
    ax.text(x, y, text, ha="center", va="center", fontsize=7, fontweight="bold" if bold else "normal")
