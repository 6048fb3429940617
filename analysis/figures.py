"""One function per figure: frame in, Figure out. No number is computed here.

Colours: fixed betas form an ordered ramp, light for small and dark for large; every other
algorithm has one colour and one line style of its own (Okabe and Ito's palette, told apart with
any kind of colour vision); TRPO, the reference, is drawn in ink.
"""

import io
import re
from contextvars import ContextVar

import matplotlib
import matplotlib.lines
import matplotlib.patches
import matplotlib.style
import numpy as np
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, StrMethodFormatter

from .data import KNOBS
from .names import ALGORITHMS, SYMBOLS, algorithm_name, arm_name, task_name
from .published import PPO_PHI

INK = "#1b1f24"
FAINT = "#8b9097"
WIDTH = 7.2  # inches: the text width of a two-column paper
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
ALGORITHM_ORDER = ["unpenalised", "clip", "kl_adaptive", "kl_fixed", "trpo"]
BETA_RAMP = seaborn.color_palette("flare", as_cmap=True)  # even steps to the eye, light to dark


def styled(draw):
    """Runs a figure function under the one style, and fixes its layout so that saving is cheap.

    A narrower figure has fewer panels side by side, a wider one is scaled. `style` is whatever matplotlib takes for
    one (a file, a name, a dict); it goes over ours.
    """

    def drawn(frame, width=None, style=None):
        before = available.set(min(width or WIDTH, WIDTH))
        try:
            with matplotlib.rc_context(STYLE), matplotlib.style.context(style or {}):
                figure = draw(frame)
                if width is not None:
                    figure.set_size_inches(width, figure.get_figheight() * max(1, width / figure.get_figwidth()))
                figure.draw_without_rendering()
                if break_long_lines(figure):
                    figure.draw_without_rendering()
                figure.set_layout_engine("none")
        finally:
            available.reset(before)
        return figure

    drawn.__name__, drawn.__doc__ = draw.__name__, draw.__doc__
    return drawn


def break_long_lines(figure):
    """Titles and labels of x that leave their column get more lines, or smaller letters; whether there were any."""
    broken = False
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
    with matplotlib.rc_context(STYLE):
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
    with matplotlib.rc_context(STYLE), matplotlib.style.context(style or {}):
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


def side_by_side(count, height, least=2.2, **options):
    """(figure, axes) of `count` plots in a row, or below each other where they would be narrower than `least`."""
    rows = 1 if available.get() >= least * count else count
    figure = Figure(figsize=(available.get(), height * rows), layout="constrained")
    return figure, figure.subplots(rows, count // rows, squeeze=False, **options).flat


def beta_colours(betas):
    """{beta: colour}, ordered by log beta."""
    betas = sorted(set(betas))
    return {beta: to_hex(BETA_RAMP(i / max(1, len(betas) - 1))) for i, beta in enumerate(betas)}


def task_colours(tasks):
    """{task: colour} in alphabetical order."""
    return dict(zip(sorted(set(tasks)), TASK_COLOURS * 10))


def arm_styles(frame):
    """{arm: (colour, line style)} for a frame with arm, algorithm and setting, in the order of legends."""
    arms = frame[["arm", "algorithm", "setting"]].dropna(subset=["arm"]).drop_duplicates()
    rank = arms["algorithm"].map({name: i for i, name in enumerate(ALGORITHM_ORDER)}).fillna(-1)
    arms = arms.assign(rank=rank).sort_values(["rank", "algorithm", "setting"])
    fixed = beta_colours(arms.loc[arms["algorithm"] == "kl_fixed", "setting"])
    styles, others = {}, iter(OTHER_COLOURS * 10)
    for arm, algorithm, setting, _ in arms.itertuples(index=False):
        if algorithm == "kl_fixed":
            styles[arm] = (fixed[setting], "-")
        else:
            styles[arm] = ALGORITHM_STYLE.get(algorithm) or (next(others), (0, (1, 1)))
    return styles


def arm_curves(frame):
    """(task, arm, rows, colour, line style, line width) for each arm of each task, in the order of legends."""
    groups = dict(list(frame.groupby(["task", "arm"])))
    for arm, (colour, line) in arm_styles(frame).items():
        for task in frame["task"].unique():
            if (task, arm) in groups:
                curve = groups[task, arm]
                yield task, arm, curve, colour, line, 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2


def legend_below(figure, axes, most=6):
    """One legend for all axes, without repeats, under the figure; to be read row by row, as wide as fits."""
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    for columns in range(min(most, len(entries)), 0, -1):
        # Matplotlib fills columns first.
        order = [label for column in range(columns) for label in list(entries)[column::columns]]
        handles = [entries[label] for label in order]
        legend = figure.legend(handles, order, loc="outside lower center", ncols=columns)
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
    """Decades as powers of ten, at most `ticks`; below two in view 1, 2 and 5 in plain numbers. Call last."""
    low, high = axis.get_view_interval()
    if high / low < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axis.set_major_locator(LogLocator(numticks=ticks))
        axis.set_major_formatter(FuncFormatter(power_of_ten))
    axis.set_minor_formatter(NullFormatter())


def steps_axis(ax):
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.get_major_locator().set_params(nbins=4)


def log_beta_axis(ax, betas):
    ax.set_xscale("log")
    ax.set_xlim(min(betas) / 1.6, max(betas) * 1.6)
    log_axis(ax.xaxis)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


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


def label_ends(ax, ends):
    """Task names beside the right ends of lines; `ends` maps a task to (x, y, colour). Log y. Call last."""
    ends = {name: end for name, end in ends.items() if np.isfinite(end[1]) and end[1] > 0}
    low, high = np.log10(ax.get_ylim())
    inches = 0.7 * ax.figure.get_figheight()  # of the axes, roughly
    gap = 8.5 / 72 / inches * (high - low)
    position = -np.inf
    for name, (x, y, colour) in sorted(ends.items(), key=lambda item: item[1][1]):
        position = max(np.log10(y), position + gap)
        ax.annotate(
            task_name(name), (x, y), (x * 1.03, 10**position), color=colour, fontsize=7, va="center",
            annotation_clip=False,
        )  # fmt: skip


# The figures ----------------------------------------------------------------------------


@styled
def learning_curves(frame):
    """Return over training per task; bands are 95 % intervals of the mean (Student)."""
    figure, axes = facets(frame["task"].unique())
    for task, arm, curve, colour, line, thick in arm_curves(frame):
        axes[task].plot(curve["env_steps"], curve["mean"], color=colour, ls=line, lw=thick, label=arm_name(arm))
        axes[task].fill_between(curve["env_steps"], curve["low"], curve["high"], color=colour, alpha=0.15, lw=0)
    for ax in axes.values():
        steps_axis(ax)
    labels(axes.values(), "environment steps", "return")
    legend_below(figure, axes.values())
    return figure


@styled
def beta_profile(frame):
    """Final return against log beta per task, other algorithms as bands, arg-max CI below."""
    figure, axes = facets(frame["task"].unique())
    for task, ax in axes.items():
        draw_profile(ax, frame[frame["task"] == task], "β")
    labels(axes.values(), "β (fixed)", "final return")
    legend_below(figure, axes.values())
    return figure


@styled
def profile(frame):
    """The same for the numbers of other methods, each on its tasks."""
    keys = list(frame[["of", "task"]].drop_duplicates().itertuples(index=False, name=None))
    symbols = {name: SYMBOLS[KNOBS[name][0]] for name in frame["of"].unique()}
    one = len(symbols) == 1
    figure, axes = facets(
        keys, title=lambda key: task_name(key[1]) if one else f"{task_name(key[1])}: {symbols[key[0]]}"
    )
    for (name, task), ax in axes.items():
        draw_profile(ax, frame[(frame["of"] == name) & (frame["task"] == task)], symbols[name])
        ax.set_xlabel(symbols[name])
    labels(axes.values(), None, "final return")
    legend_below(figure, axes.values())
    return figure


def draw_profile(ax, here, symbol):
    """Return against one number, other algorithms as bands, the best value and its interval as a bar below."""
    sweep = here[here["kind"] == "sweep"].sort_values("setting")
    for _, band in here[here["kind"] == "band"].iterrows():
        colour, line = ALGORITHM_STYLE.get(band["algorithm"], (FAINT, ":"))
        ax.axhspan(band["low"], band["high"], color=colour, alpha=0.13, lw=0)
        ax.axhline(band["mean"], color=colour, ls=line, lw=1.2, label=arm_name(band["arm"]))
    label = "fixed β" if symbol == "β" else f"mean by {symbol}"
    ax.plot(sweep["setting"], sweep["mean"], color=FIXED, lw=1.4, zorder=3, label=label)
    error = np.abs([sweep["mean"] - sweep["low"], sweep["high"] - sweep["mean"]])
    ax.errorbar(sweep["setting"], sweep["mean"], np.nan_to_num(error), fmt="none", ecolor=FIXED, elinewidth=1, zorder=3)
    for (_, point), colour in zip(sweep.iterrows(), beta_colours(sweep["setting"]).values()):
        ax.plot(point["setting"], point["mean"], "o", ms=4.5, color=colour, mec="#6b2a7a", mew=0.5, zorder=4)
    log_beta_axis(ax, sweep["setting"])
    best = here[here["kind"] == "best"]
    if len(best):
        best = best.iloc[0]
        # In axes height: a bar just above the bottom edge.
        transform = ax.get_xaxis_transform()
        ax.plot(
            [best["low"], best["high"]],
            [0.03, 0.03],
            transform=transform,
            color="#6b2a7a",
            lw=3.5,
            alpha=0.55,
            solid_capstyle="round",
        )
        ax.plot(
            best["setting"], 0.03, "D", ms=4, transform=transform, color="#6b2a7a", zorder=5, ls="none",
            label=f"best {symbol} (bar: 95 % CI)",
        )  # fmt: skip
        ax.margins(y=0.14)


@styled
def achieved_kl(frame):
    """KL(old||new) of each update over training, per task, for each fixed beta and TRPO."""
    figure, axes = facets(frame["task"].unique(), sharey=True)
    for task, arm, curve, colour, line, thick in arm_curves(frame):
        ax = axes[task]
        ax.plot(curve["env_steps"], curve["median"], color=colour, ls=line, lw=thick, label=arm_name(arm))
        ax.fill_between(curve["env_steps"], curve["low"], curve["high"], color=colour, alpha=0.12, lw=0)
    for ax in axes.values():
        ax.set_yscale("log")
        log_axis(ax.yaxis)
        steps_axis(ax)
    labels(axes.values(), "environment steps", "achieved KL (nats)")
    legend_below(figure, axes.values())
    return figure


@styled
def implied_beta(frame):
    """The beta that the constraint implied over training, all tasks on one log axis."""
    units = [unit for unit in ("as the algorithm saw it", "raw advantages") if unit in set(frame["units"])]
    figure, axes = side_by_side(len(units), 3.3, sharey=True)
    grid = dict(zip(units, axes))
    colours = task_colours(frame.loc[frame["kind"] == "curve", "task"])
    curves = frame[frame["kind"] == "curve"]
    ends = {unit: {} for unit in units}
    for unit, ax in grid.items():
        ax.set_yscale("log")
        ax.set_title(unit)
        for (task, estimate), curve in curves[curves["units"] == unit].groupby(["task", "estimate"]):
            crossfit = estimate == "cross-fitted"
            x = curve["progress"]
            ax.plot(x, curve["mean"], color=colours[task], lw=1.6 if crossfit else 0.9, ls="-" if crossfit else DOTTED)
            if crossfit:
                # An interval that reaches below zero is open at the bottom of a log axis: not drawn there.
                ax.fill_between(x, curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
            known = curve.dropna(subset=["mean"])
            if len(known) and (crossfit or task not in ends[unit]):
                ends[unit][task] = (1.0, known["mean"].iloc[-1], colours[task])
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of training")
    for unit, ax in grid.items():
        label_ends(ax, ends[unit])
        log_axis(ax.yaxis)
        low, high = ax.get_ylim()
        for beta in frame.loc[frame["kind"] == "grid", "mean"]:
            if low < beta < high:
                ax.axhline(beta, color=FAINT, lw=0.8, ls="--", zorder=0)
                ax.annotate(f"β={beta:g}", (0.01, beta), fontsize=6.5, color=FAINT, va="bottom")
    next(iter(grid.values())).set_ylabel("implied β")
    handles = [
        matplotlib.lines.Line2D([], [], color=INK, lw=1.6, label="cross-fitted (noise removed)"),
        matplotlib.lines.Line2D([], [], color=INK, lw=0.9, ls=DOTTED, label="full batch (noise included)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if available.get() > 5 else 1)
    return figure


@styled
def table_1(frame):
    """PPO's Table 1 by task: normalised scores as shaded cells, our average and the published one."""
    arms = list(arm_styles(frame))
    columns = sorted(set(frame["task"]) - {"average", "published"})
    columns += [name for name in ("average", "published") if name in set(frame["task"])]
    cells = frame.set_index(["arm", "task"])
    figure = Figure(
        figsize=(min(available.get(), max(3.6, 1.6 + 0.8 * len(columns))), 0.75 + 0.23 * len(arms)),
        layout="constrained",
    )
    ax = table_axes(figure.subplots(), [arm_name(arm) for arm in arms], columns)
    for y, arm in enumerate(arms):
        for x, column in enumerate(columns):
            if (arm, column) in cells.index:
                cell = cells.loc[(arm, column)]
                shade(
                    ax,
                    x,
                    y,
                    cell["mean"],
                    f"{cell['mean']:.2f}".replace("-0.00", "0.00"),
                    "#0072b2",
                    bold=column == "average",
                )
    ax.axvline(sum(name not in ("average", "published") for name in columns) - 0.5, color=INK, lw=0.8)
    return figure


def table_axes(ax, rows, columns):
    """Empty axes for a table of cells with the column names on top."""
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), rows)
    turn = len(columns) > 3
    names = [task_name(name) for name in columns]
    if turn:  # long names lean upwards
        longest = max(map(len, [*names, ""]))
        ax.figure.set_figheight(ax.figure.get_figheight() + 0.04 * max(0, longest - 13))
    ax.set_xticks(range(len(columns)), names, rotation=40 if turn else 0, ha="left" if turn else "center")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def shade(ax, x, y, share, text, colour, bold=False):
    """A cell whose tint grows with `share` (0 to 1); a tint, not a colour map, to keep the text legible."""
    if np.isfinite(share):
        alpha = 0.5 * float(np.clip(share, 0, 1))
        ax.add_patch(matplotlib.patches.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fc=colour, alpha=alpha, lw=0))
    ax.text(x, y, text, ha="center", va="center", fontsize=7, fontweight="bold" if bold else "normal")


@styled
def transfer(frame):
    """Loss on the column task of the setting tuned on the row task, one matrix per number."""
    algorithms = list(frame["algorithm"].unique())
    tasks = sorted(frame["run_on"].unique())
    columns = min(2 if available.get() > 5 else 1, len(algorithms))
    rows = -(-len(algorithms) // columns)
    width = available.get() if columns > 1 else min(available.get(), 2.0 + 0.5 * len(tasks))
    figure = Figure(figsize=(width, rows * (1.15 + 0.22 * (len(tasks) + 1))), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for algorithm, ax in zip(algorithms, grid.flat):
        here = frame[frame["algorithm"] == algorithm]
        setting = here.drop_duplicates("tuned_on").set_index("tuned_on")["setting"]
        names = [name for name in [*tasks, "all tasks"] if name in setting.index]
        table_axes(ax, [f"{task_name(name)}, {setting[name]:g}" for name in names], tasks)
        for (tuned_on, run_on), cell in here.set_index(["tuned_on", "run_on"]).iterrows():
            x, y = tasks.index(run_on), names.index(tuned_on)
            shade(
                ax,
                x,
                y,
                cell["loss"],
                f"{100 * cell['loss'] + 0.0:.0f}".replace("-0", "0"),
                "#d55e00",
                tuned_on == "all tasks",
            )
        ax.axhline(len(names) - 1.5, color=INK, lw=0.8)
        ax.set_ylabel(f"{ALGORITHMS[algorithm]}: {SYMBOLS[KNOBS[algorithm][0]]} tuned on")
    for ax in grid.flat[len(algorithms) :]:
        ax.remove()
    return figure


@styled
def number_profiles(frame):
    """Share of the gain against each method's number, and the means of all methods against the median KL."""
    algorithms = list(dict.fromkeys(frame["algorithm"]))
    titles = {name: f"{ALGORITHMS[name]}: {SYMBOLS[KNOBS[name][0]]}" for name in algorithms} | {"steps": "step size"}
    figure, axes = facets(titles, height=1.9, columns=3, title=titles.get, sharey=True)
    colours = task_colours(frame.loc[frame["task"] != "all tasks", "task"])
    for algorithm, here in frame.groupby("algorithm"):
        ax = axes[algorithm]
        for task, line in here[here["task"] != "all tasks"].groupby("task"):
            ax.plot(line["setting"], line["mean"], color=colours[task], lw=0.9, label=task_name(task))
        whole = here[here["task"] == "all tasks"]
        colour, style = ALGORITHM_STYLE[algorithm]
        for x, where, shown in ((whole["setting"], ax, INK), (whole["median_kl"], axes["steps"], colour)):
            order = np.argsort(x.to_numpy())
            x, y, low, high = (column.to_numpy()[order] for column in (x, whole["mean"], whole["low"], whole["high"]))
            where.fill_between(x, low, high, color=shown, alpha=0.18, lw=0)
            line, label = ("-", "mean over tasks") if where is ax else (style, ALGORITHMS[algorithm])
            where.plot(x, y, "o", ls=line, color=shown, lw=2, ms=3.5, label=label)
        ax.set_xlabel(SYMBOLS[KNOBS[algorithm][0]])
        ax.set_xscale("log")
        if len(whole) <= 5:  # the decades of a narrow grid are no ticks of it
            ax.set_xticks(whole["setting"], [f"{value:g}" for value in whole["setting"]])
            ax.xaxis.set_minor_formatter(NullFormatter())
    axes["steps"].set_xlabel("median KL of an update, nats")
    axes["steps"].set_xscale("log")
    for ax in axes.values():
        ax.axhline(0, color=INK, lw=0.6)
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("share of the gain")
    low = frame["mean"].min()
    ax.set_ylim(max(-0.35, low - 0.05), 1.05)
    legend_below(figure, [axes[algorithms[0]]], most=4)
    steps = axes["steps"]
    beside = {} if steps.get_subplotspec().is_last_col() else {"loc": "center left", "bbox_to_anchor": (1.03, 0.5)}
    steps.legend(handlelength=2.6, **beside).set_in_layout(False)
    return figure


@styled
def sensitivity(frame):
    """Phi of each method's number: what tuning it per task gains over one value for all tasks."""
    narrow = available.get() < 5
    figure = Figure(figsize=(min(available.get(), WIDTH * 0.75), 0.9 + 0.42 * len(frame)), layout="constrained")
    ax = figure.subplots()
    for y, row in enumerate(frame.itertuples()):
        colour = ALGORITHM_STYLE[row.algorithm][0]
        ax.barh(y, row.phi, height=0.55, color=colour, alpha=0.55)
        ax.plot([row.low, row.high], [y, y], color=INK, lw=1.2)
        if np.isfinite(row.phi_split):
            ax.plot(row.phi_split, y, "D", color=INK, mfc="#ffffff", ms=5)
        if not narrow:
            ax.annotate(
                f"best single {row.best_single:g}; {row.values} values over {row.decades:.1f} decades",
                (1.0, y), xycoords=("axes fraction", "data"), fontsize=6.5, ha="left", va="center", color=INK,
                xytext=(5, 0), textcoords="offset points",
            )  # fmt: skip
    ax.axvline(0, color=INK, lw=0.6)
    ax.axvline(PPO_PHI, color=FAINT, ls="--", lw=1)
    ax.annotate(
        "PPO’s four numbers",
        (PPO_PHI, 1.0),
        xycoords=("data", "axes fraction"),
        fontsize=6.5,
        color=FAINT,
        ha="left",
        va="bottom",
    )
    ax.set_yticks(range(len(frame)), [f"{SYMBOLS[KNOBS[name][0]]} ({ALGORITHMS[name]})" for name in frame["algorithm"]])
    ax.invert_yaxis()
    ax.set_xlabel("sensitivity Φ")
    return figure


@styled
def decomposition(frame):
    """sigma_A, R and their product over training: implied beta = sigma_A R / sqrt(2 delta)."""
    titles = {
        "sigma": "σ of the advantage",
        "share": "R, share the score explains",
        "implied": "implied β, raw advantages",
    }
    figure, axes = side_by_side(3, 2.7)
    colours = task_colours(frame["task"])
    for (quantity, title), ax in zip(titles.items(), axes):
        ax.set_title(title)
        ax.set_yscale("log")
        for (task, estimate), curve in frame[frame["quantity"] == quantity].groupby(["task", "estimate"]):
            solid = estimate == "cross-fitted" or quantity == "sigma"
            ax.plot(
                curve["progress"], curve["mean"], color=colours[task], lw=1.5 if solid else 0.9,
                ls="-" if solid else DOTTED, label=task_name(task) if solid else None,
            )  # fmt: skip
            if solid:
                ax.fill_between(curve["progress"], curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of training")
        log_axis(ax.yaxis)
    legend_below(figure, figure.axes[:1], most=4)
    return figure


@styled
def kl_law(frame):
    """Achieved KL against beta, both in units of the constraint: the quadratic law has slope -2."""
    figure, axes = facets(frame.loc[frame["kind"] != "slope", "task"].unique(), sharex=True, sharey=True)
    updates = frame[frame["kind"] == "update"]
    colours = beta_colours(updates["beta"])
    for beta, colour in colours.items():
        next(iter(axes.values())).plot([], [], "o", ms=4, mew=0, color=colour, label=f"β={beta:g}")
    for task, ax in axes.items():
        for beta, points in updates[updates["task"] == task].groupby("beta"):
            ax.plot(
                points["beta_over_implied"], points["kl_over_delta"], "o", ms=2, mew=0, alpha=0.4, color=colours[beta]
            )  # fmt: skip
        median = frame[(frame["kind"] == "median") & (frame["task"] == task)].sort_values("beta_over_implied")
        ax.plot(median["beta_over_implied"], median["kl_over_delta"], color=INK, lw=1.4, label="median")
        slope = frame[(frame["kind"] == "slope") & (frame["task"] == task)]
        if len(slope):
            ax.annotate(
                f"slope {slope['kl_over_delta'].iloc[0]:.2f}", (0.97, 0.94), xycoords="axes fraction", ha="right",
                va="top", fontsize=7,
            )  # fmt: skip
    x = updates["beta_over_implied"]
    span = np.array([x.min(), x.max()])
    low, high = updates["kl_over_delta"].min() / 2, updates["kl_over_delta"].max() * 2
    for ax in axes.values():
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.plot(span, span**-2.0, color=FAINT, lw=1.2, ls="--", zorder=1, label="KL = δ (implied β / β)²")
        ax.set_ylim(low, high)
        log_axis(ax.xaxis, ticks=4)
        log_axis(ax.yaxis)
    labels(axes.values(), "β / implied β", "achieved KL / δ")
    legend_below(figure, axes.values())
    return figure


@styled
def kl_budget(frame):
    """How the KL of updates is distributed, and what large steps do: collapses and extreme ratios."""
    figure, (histogram, collapse, ratio) = side_by_side(3, 2.9)
    styles = arm_styles(frame)
    shown = frame[frame["kind"] == "histogram"]
    used = shown[shown["value"] > 0]["log10_kl_over_delta"]
    by_arm = dict(list(shown.groupby("arm")))
    for arm in [arm for arm in styles if arm in by_arm]:
        counts, (colour, line) = by_arm[arm], styles[arm]
        histogram.plot(
            10 ** (counts["log10_kl_over_delta"] + 0.083), counts["value"], color=colour, ls=line, lw=1.3,
            label=arm_name(arm), drawstyle="steps-mid",
        )  # fmt: skip
    histogram.set_xscale("log")
    if len(used):
        histogram.set_xlim(10 ** (used.min() - 0.2), 10 ** (used.max() + 0.4))
    log_axis(histogram.xaxis)
    histogram.axvline(1, color=FAINT, lw=0.9, ls="--")
    histogram.set_title("KL of updates")
    histogram.set_xlabel("KL / δ")
    histogram.set_ylabel("share of updates")
    arms = frame[["arm", "algorithm", "setting"]].drop_duplicates("arm")
    ends = frame[frame["kind"] != "histogram"].pivot(index="arm", columns="kind", values="value")
    numbers = arms.merge(ends, left_on="arm", right_index=True)
    fixed = numbers[numbers["algorithm"] == "kl_fixed"].sort_values("setting")
    for ax, column, title in (
        (collapse, "collapsed", "share of runs that collapsed"),
        (ratio, "max_ratio_p99", "largest ratio (99th pct.)"),
    ):
        if column in numbers:
            if len(fixed):
                ax.plot(fixed["setting"], fixed[column], color=FIXED, lw=1.2)
                for beta, colour in beta_colours(fixed["setting"]).items():
                    ax.plot(beta, fixed.loc[fixed["setting"] == beta, column], "o", ms=4.5, color=colour)
                log_beta_axis(ax, fixed["setting"])
                ax.set_xlabel("β (fixed)")
            else:
                ax.set_xticks([])
            for _, row in numbers[numbers["algorithm"] != "kl_fixed"].iterrows():
                colour, line = styles[row["arm"]]
                ax.axhline(row[column], color=colour, ls=line, lw=1.2)
        ax.set_title(title)
    collapse.set_ylim(-0.03, 1.03)
    if "max_ratio_p99" in numbers:
        ratio.set_yscale("log")
        log_axis(ratio.yaxis)
    legend_below(figure, [histogram], most=5)
    return figure


@styled
def adaptive(frame):
    """How well the adaptive rule holds its target, and where its beta goes."""
    ratios, betas = frame[frame["kind"] == "ratio"], frame[frame["kind"] == "beta"]
    figure, (left, right) = side_by_side(2, 1.5 + 0.24 * max(4, len(ratios)))
    colours = task_colours(frame["task"])
    left.axvspan(1 / 1.5, 1.5, color=FAINT, alpha=0.25, lw=0)
    for y, row in enumerate(ratios.itertuples()):
        colour = colours[row.task]
        left.plot([row.p5, row.p95], [y, y], color=colour, lw=1.2)
        left.plot([row.p25, row.p75], [y, y], color=colour, lw=5, alpha=0.6, solid_capstyle="butt")
        left.plot(row.median, y, "o", color=colour, ms=4, mec=INK, mew=0.5)
        left.annotate(
            f"{100 * row.share_inside:.0f} % inside", (1.0, y), xycoords=("axes fraction", "data"), fontsize=6.5,
            va="bottom", ha="right",
        )  # fmt: skip
    left.set_xscale("log")
    log_axis(left.xaxis)
    left.set_yticks(range(len(ratios)), [task_name(task) for task in ratios["task"]])
    left.set_ylim(len(ratios) - 0.4, -0.7)
    left.set_xlabel("KL of an update / target")
    left.set_title("KL against its target")
    ends = {}
    for task, curve in betas.groupby("task"):
        right.plot(curve["progress"], curve["median"], color=colours[task])
        right.fill_between(curve["progress"], curve["p5"], curve["p95"], color=colours[task], alpha=0.13, lw=0)
        known = curve.dropna(subset=["median"])
        if len(known):
            ends[task] = (1.0, known["median"].iloc[-1], colours[task])
    right.set_yscale("log")
    right.set_xlim(0, 1)
    log_axis(right.yaxis)
    label_ends(right, ends)
    right.set_xlabel("share of training")
    right.set_title("adaptive β")
    return figure


@styled
def comparison(frame):
    """Performance profiles of all arms, and the probability that TRPO beats each of them."""
    profile = frame[frame["kind"] == "profile"]
    better = frame[frame["kind"] == "P(TRPO > arm)"]
    styles = arm_styles(frame)
    figure, grid = side_by_side(2 if len(better) else 1, 3.4)
    by_arm = dict(list(profile.groupby("arm")))
    for arm, (colour, line) in styles.items():
        curve = by_arm[arm]
        thick = 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2
        grid[0].plot(curve["threshold"], curve["value"], color=colour, ls=line, lw=thick, label=arm_name(arm))
        grid[0].fill_between(curve["threshold"], curve["low"], curve["high"], color=colour, alpha=0.1, lw=0)
    grid[0].set_xlabel("normalised score τ (untrained 0, best run 1)")
    grid[0].set_ylabel("share of runs above τ")
    grid[0].set_title("performance profiles")
    if len(better):
        ax = grid[1]
        better = better.set_index("arm").loc[[arm for arm in styles if arm in set(better["arm"])]].reset_index()
        ax.axvline(0.5, color=FAINT, lw=1, ls="--")
        for y, row in better.iterrows():
            colour, _ = styles[row["arm"]]
            ax.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.2)
            ax.plot(row["value"], y, "o", color=colour, ms=5, mec=INK, mew=0.5)
        ax.set_yticks(range(len(better)), [arm_name(arm) for arm in better["arm"]])
        ax.set_ylim(len(better) - 0.5, -0.5)
        ax.set_xlim(-0.02, 1.02)
        ax.set_title("P(TRPO > arm)")
    legend_below(figure, grid[:1], most=5)
    return figure


@styled
def best_by_phase(frame):
    """Which constant beta does best in each phase of training; tint: closeness to the phase's best."""
    figure, axes = facets(frame["task"].unique(), height=1.9)
    for task, ax in axes.items():
        here = frame[frame["task"] == task]
        betas = sorted(here["beta"].unique())
        index = {beta: i for i, beta in enumerate(betas)}
        for row in here.itertuples():
            share = np.clip(1 - row.loss / 0.5, 0, 1)
            ax.add_patch(
                matplotlib.patches.Rectangle(
                    (row.phase - 0.5, index[row.beta] - 0.5), 1, 1, fc=FIXED, alpha=0.55 * float(share), lw=0
                )
            )
        best = here.drop_duplicates("phase")
        middle = best["best_beta"].map(index)
        ends = [middle - best["best_low"].map(index), best["best_high"].map(index) - middle]
        ax.errorbar(
            best["phase"], middle, np.maximum(0, ends), color=INK, marker="o", ms=4, lw=1.3, elinewidth=1, capsize=2
        )
        ax.set_xlim(0.5, best["phase"].max() + 0.5)
        ax.set_ylim(-0.5, len(betas) - 0.5)
        every = max(1, len(betas) // 5)
        ax.set_yticks(range(0, len(betas), every), [f"{beta:g}" for beta in betas[::every]])
        ax.set_xticks(sorted(best["phase"]))
        ax.grid(False)
    labels(axes.values(), "phase of training (fifths)", "β (fixed)")
    return figure


@styled
def hidden_adaptation(frame):
    """Implied beta, and beta-profiles of all tasks, with normalised and with raw advantages."""
    kinds = [kind for kind in ("implied", "profile") if kind in set(frame["kind"])]
    figure = Figure(figsize=(available.get(), 2.35 * len(kinds) + 0.5), layout="constrained")
    colours = task_colours(frame["task"])
    grid = figure.subplots(len(kinds), 2, sharey="row", squeeze=False)
    for row, kind in enumerate(kinds):
        for ax, advantages in zip(grid[row], ("normalised", "raw")):
            for task, curve in frame[(frame["kind"] == kind) & (frame["advantages"] == advantages)].groupby("task"):
                colour = colours[task]
                ax.plot(curve["x"], curve["mean"], color=colour, marker="o", ms=3, label=task_name(task))
                ax.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.12, lw=0)
            ax.set_title(f"{advantages} advantages")
            if kind == "implied":
                ax.set_yscale("log")
                log_axis(ax.yaxis)
                ax.set_xlabel("phase of training (fifths)")
                ax.set_xticks(sorted(frame.loc[frame["kind"] == kind, "x"].unique()))
            else:
                log_beta_axis(ax, frame.loc[(frame["kind"] == kind) & (frame["advantages"] == advantages), "x"])
                ax.set_xlabel("β (fixed)")
        grid[row][0].set_ylabel("implied β" if kind == "implied" else "final return\n(untrained 0, best arm 1)")
    legend_below(figure, grid.flat, most=5)
    return figure


@styled
def reward_scales(frame):
    """Final return when every reward is multiplied by a number; fixed betas against TRPO."""
    figure, axes = facets(
        [(task, advantages) for advantages in ("normalised", "raw") for task in sorted(frame["task"].unique())
         if ((frame["task"] == task) & (frame["advantages"] == advantages)).any()],
        columns=max(1, frame["task"].nunique()), title=lambda name: f"{task_name(name[0])}, {name[1]}",
    )  # fmt: skip
    arms = frame.assign(arm=np.where(frame["algorithm"] == "trpo", "TRPO, δ=", "β="))
    arms["arm"] += arms["setting"].map("{:g}".format)
    styles = arm_styles(arms)
    for (task, advantages, arm), curve in arms.groupby(["task", "advantages", "arm"]):
        colour, line = styles[arm]
        ax = axes[task, advantages]
        error = np.nan_to_num(np.abs([curve["mean"] - curve["low"], curve["high"] - curve["mean"]]))
        ax.errorbar(
            curve["reward_scale"],
            curve["mean"],
            error,
            color=colour,
            ls=line,
            marker="o",
            ms=3,
            elinewidth=1,
            label=arm,
        )
        ax.set_xscale("log")
        log_axis(ax.xaxis)
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    labels(axes.values(), "rewards multiplied by", "final return")
    legend_below(figure, axes.values())
    return figure


@styled
def modifications(frame):
    """What each method gains over the best constant beta, the KL it holds, and its time."""
    whole = frame[frame["kind"] == "all"].sort_values("effect", ascending=False).reset_index(drop=True)
    wide = {"width_ratios": [2, 1.4, 1]} if available.get() >= 2.2 * 3 else {}
    figure, (effect, kl, time) = side_by_side(3, 0.9 + 0.19 * len(whole), sharey=True, **wide)
    colours = task_colours(frame["task"].dropna())
    single = dict(list(frame[frame["kind"] == "task"].groupby(["algorithm", "condition"])))
    names = []
    for y, row in enumerate(whole.itertuples()):
        bounded = row.condition.replace("max_grad_norm=", "gradient ≤ ")
        names.append(", ".join(filter(None, [ALGORITHMS.get(row.algorithm, row.algorithm), bounded])))
        for point in single[row.algorithm, row.condition].itertuples():
            colour, label = colours[point.task], task_name(point.task)
            effect.plot(point.effect, y + 0.25, "o", ms=3.4, color=colour, mew=0, label=label)
        effect.plot([row.low, row.high], [y, y], color=INK, lw=1.2)
        effect.plot(row.effect, y, "D", ms=4.5, color=INK, mfc=INK if row.holm < 0.05 else "#ffffff")
        kl.plot([row.kl, row.kl_max], [y, y], color=FAINT, lw=0.9)
        kl.plot(row.kl, y, "o", ms=4, color=INK)
        kl.plot(row.kl_max, y, "o", ms=4, color=INK, mfc="#ffffff")
        time.plot(row.time, y, "o", ms=4, color=INK)
    effect.axvline(0, color=INK, lw=0.6)
    time.axvline(1, color=INK, lw=0.6)
    effect.set_yticks(range(len(whole)), names)
    effect.set_ylim(len(whole) - 0.4, -0.6)
    for ax, title, label in (
        (effect, "gain over the best constant β", "share of the task’s gain"),
        (kl, "KL of an update", "nats"),
        (time, "time", "relative to fixed β"),
    ):
        ax.set_title(title)
        ax.set_xlabel(label)
    for ax in (kl, time):
        ax.set_xscale("log")
        log_axis(ax.xaxis, ticks=4)
    legend_below(figure, [effect])
    return figure


@styled
def forks(frame):
    """Return gained against beta from each point of training, per task."""
    keys = frame[["task", "advantages"]].drop_duplicates().sort_values(["advantages", "task"])
    figure, axes = facets(
        list(keys.itertuples(index=False, name=None)), columns=3, title=lambda name: f"{task_name(name[0])}, {name[1]}"
    )
    colours = dict(zip(sorted(frame["at"].unique()), BETA_RAMP(np.linspace(0.15, 0.95, frame["at"].nunique()))))
    for (task, advantages, at), curve in frame.groupby(["task", "advantages", "at"]):
        curve, ax = curve.sort_values("setting"), axes[task, advantages]
        error = np.nan_to_num(np.abs([curve["mean"] - curve["low"], curve["high"] - curve["mean"]]))
        ax.errorbar(
            curve["setting"], curve["mean"], error, color=colours[at], marker="o", ms=3.5, lw=1.2, elinewidth=1,
            label=f"after {at / 1e6:.2g} M steps",
        )  # fmt: skip
        ax.axhline(0, color=FAINT, lw=0.8, ls=":")
    for ax in axes.values():
        log_beta_axis(ax, frame["setting"])
    labels(axes.values(), "β that training goes on with", "return gained")
    legend_below(figure, axes.values())
    return figure


@styled
def beta_over_unit(frame):
    """Final return and step on raw advantages against beta / c for rewards multiplied by c, TRPO as a line for each."""
    tasks = sorted(frame["task"].unique())
    rows = {"mean": "final return", "median_kl": "median KL (nats)"}
    figure, axes = facets(
        [(quantity, task) for quantity in rows for task in tasks], columns=len(tasks),
        title=lambda name: task_name(name[1]) if name[0] == "mean" else "",
    )  # fmt: skip
    colours = task_colours(frame["reward_scale"])
    for (task, factor), here in frame.groupby(["task", "reward_scale"]):
        curve = here.dropna(subset=["beta_over_unit"]).sort_values("beta_over_unit")
        x, colour = curve["beta_over_unit"], colours[factor]
        for quantity in rows:
            ax = axes[quantity, task]
            for _, trpo in here[here["algorithm"] == "trpo"].iterrows():
                label = f"TRPO, δ={trpo['setting']:g}, c={factor:g}"
                ax.axhline(trpo[quantity], color=colour, ls="--", lw=1.1, label=label)
            ax.plot(x, curve[quantity], color=colour, marker="o", ms=3.5, lw=1.1, label=f"fixed β, c={factor:g}")
        error = np.nan_to_num(np.abs([curve["mean"] - curve["low"], curve["high"] - curve["mean"]]))
        axes["mean", task].errorbar(x, curve["mean"], error, fmt="none", ecolor=colour, elinewidth=1)
    for (quantity, task), ax in axes.items():
        log_beta_axis(ax, frame["beta_over_unit"].dropna())
        if quantity == "median_kl":
            ax.set_yscale("log")
            log_axis(ax.yaxis)
            ax.set_xlabel("β / c")
        if task == tasks[0]:
            ax.set_ylabel(rows[quantity])
    legend_below(figure, axes.values(), most=2)
    return figure


@styled
def windows(frame):
    """A row per task, a column per number: window, optimum with its interval, the best single value and its loss."""
    numbers = list(frame[["algorithm", "advantages"]].drop_duplicates().itertuples(index=False, name=None))
    tasks = sorted(frame["task"].unique(), key=task_name, reverse=True)
    rows = {task: row for row, task in enumerate(tasks)}
    figure, axes = side_by_side(len(numbers), 0.9 + 0.19 * len(tasks), least=1.35, sharey=True)
    for (algorithm, advantages), ax in zip(numbers, axes):
        here = frame[(frame["algorithm"] == algorithm) & (frame["advantages"] == advantages)]
        colour = FIXED if algorithm == "kl_fixed" else ALGORITHM_STYLE[algorithm][0]
        first, last = here["smallest"].iloc[0], here["largest"].iloc[0]
        for window in here.itertuples():
            y = rows[window.task]
            low, high = (first / 2 if window.open_low else window.low), (last * 2 if window.open_high else window.high)
            ax.barh(y, high - low, left=low, height=0.62, color=colour, alpha=0.28, lw=0)
            ax.plot([window.optimum_low, window.optimum_high], [y, y], color=colour, lw=1.1)
            ax.plot(window.optimum, y, "o", color=colour, ms=3.6)
            heavy = "bold" if window.loss > 0.1 else "normal"
            ax.annotate(
                f"{100 * max(0.0, window.loss):.0f} %", (1.02, y), xycoords=("axes fraction", "data"), va="center",
                fontsize=6.5, weight=heavy, annotation_clip=False,
            )  # fmt: skip
        single = here["single"].iloc[0]
        ax.axvline(single, color=INK, ls="--", lw=1)
        ax.set_xscale("log")
        ax.set_xlim(first / 2, last * 2)
        log_axis(ax.xaxis, ticks=4)
        symbol = SYMBOLS[KNOBS[algorithm][0]]
        ax.set_xlabel(symbol)
        ax.annotate(f"{single:.2g}", (single, len(tasks) - 0.5), ha="center", va="bottom", fontsize=6.5)
        ax.set_title(f"{algorithm_name(algorithm)}\n{advantages}", pad=13)  # over the single value
        ax.set_yticks(range(len(tasks)), [task_name(task) for task in tasks])
        ax.set_ylim(-0.6, len(tasks) - 0.4)
        ax.grid(axis="y", visible=False)
        ax.annotate("lost", (1.02, len(tasks) - 0.5), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom")
    return figure


@styled
def diagonal(frame):
    """Best beta by sweep against the beta measured in ten iterations, log-log."""
    figure = Figure(figsize=(min(available.get(), 4.6), 3.9), layout="constrained")
    ax = figure.subplots()
    known = frame.dropna(subset=["measured"])
    ends = [known[["measured", "best_low"]].min().min() / 2, known[["measured", "best_high"]].max().max() * 2]
    ax.plot(ends, ends, color=INK, lw=1, label="equal")
    for factor in (1 / 3, 3):
        ax.plot(ends, [factor * end for end in ends], color=FAINT, lw=0.9, ls=":", label="factor of three")
    for task in known.itertuples():
        low = task.measured_low if np.isfinite(task.measured_low) else ends[0]
        ax.plot([low, task.measured_high], [task.best, task.best], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot([task.measured, task.measured], [task.best_low, task.best_high], color=FIXED, lw=0.8, alpha=0.6)
        ax.plot(task.measured, task.best, "o", color=FIXED, ms=4.5)
        ax.annotate(
            task_name(task.task), (task.measured, task.best), xytext=(4, 3), textcoords="offset points", fontsize=6.5
        )
    constant = 10 ** np.log10(known["best"]).mean()
    ax.axhline(constant, color=FAINT, ls="--", lw=1, label=f"one constant, {constant:.2g}")
    ax.set_xscale("log"), ax.set_yscale("log")
    ax.set_xlim(ends), ax.set_ylim(ends)
    log_axis(ax.xaxis), log_axis(ax.yaxis)
    ax.set_xlabel("β implied by the constraint, first ten iterations")
    ax.set_ylabel("best β by sweep")
    legend_below(figure, [ax])
    return figure


@styled
def four_answers(frame):
    """A row per question, one panel per unit: the effect with its interval against what the rule takes for nothing."""
    groups = [("A", "price of one value\n(share of the gain)", (0, 0.05)),
              ("C", "TRPO less fixed β\n(share of the gain)", (-1e9, 0)),
              ("B", "move of the best β within a run\n(decades)", (-0.25, 0.25)),
              ("mechanism", "error of the measured β less a constant’s\n(decades)", (0, 1e9))]  # fmt: skip
    groups = [group for group in groups if (frame["key"] == group[0]).any()]
    heights = [(frame["key"] == key).sum() for key, *_ in groups]
    figure = Figure(figsize=(available.get(), 0.27 * sum(heights) + 0.62 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[count + 0.4 for count in heights]).flat
    for (key, label, nothing), ax in zip(groups, axes):
        here = frame[frame["key"] == key].iloc[::-1]
        for row, answer in enumerate(here.itertuples()):
            decided = answer.verdict != "undecided"
            ax.plot([answer.low, answer.high], [row, row], color=FIXED, lw=1.4)
            ax.plot(answer.effect, row, "o", color=FIXED, mfc=FIXED if decided else "white", ms=5)
        view = ax.get_xlim()
        ax.axvspan(*np.clip(nothing, *view), color=FAINT, alpha=0.2, lw=0)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_xlim(view)
        short = [answer.label for answer in here.itertuples()]
        ax.set_yticks(range(len(here)), [f"{name}, {n} tasks" for name, n in zip(short, here["tasks"])])
        ax.set_ylim(-0.6, len(here) - 0.4)
        ax.set_title(label.replace("\n", " "))
        ax.grid(axis="y", visible=False)
    return figure
