"""One function per figure: frame in, Figure out. No number is computed here.

Colours: fixed betas form an ordered ramp, light for small and dark for large; every other
algorithm has one colour and one line style of its own (Okabe and Ito's palette, told apart with
any kind of colour vision); TRPO, the reference, is drawn in ink.
"""

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

INK = "#1b1f24"
FAINT = "#8b9097"
WIDTH = 7.2  # inches: the text width of a two-column paper
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
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.facecolor": "none",
}
ALGORITHM_STYLE = {
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
BETA_RAMP = LinearSegmentedColormap.from_list("beta", ["#f2b45c", "#e3704a", "#b8356a", "#6b2a7a"])


def styled(draw):
    """Runs a figure function under the one style, and fixes its layout so that saving is cheap."""

    def drawn(frame):
        with matplotlib.rc_context(STYLE):
            figure = draw(frame)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    drawn.__name__, drawn.__doc__ = draw.__name__, draw.__doc__
    return drawn


def facets(names, height=1.65, columns=4, title=str, **options):
    """(figure, {name: axes}): one small plot per name on a grid."""
    names = list(names)
    columns = min(columns, len(names))
    if len(names) in (5, 6):
        columns = 3
    rows = -(-len(names) // columns)
    # A few panels are not stretched over the whole width.
    figure = Figure(figsize=(WIDTH if columns > 2 else 3.6 * columns, height * rows + 0.75), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = dict(zip(names, grid.flat))
    for name, ax in axes.items():
        ax.set_title(title(name))
    for ax in grid.flat[len(names) :]:
        ax.remove()
    return figure, axes


def beta_colours(betas):
    """{beta: colour}, ordered by log beta."""
    betas = sorted(set(betas))
    return {beta: to_hex(BETA_RAMP(i / max(1, len(betas) - 1))) for i, beta in enumerate(betas)}


def arm_styles(frame):
    """{arm: (colour, line style)} for a frame with arm, algorithm and setting."""
    arms = frame[["arm", "algorithm", "setting"]].drop_duplicates().sort_values(["algorithm", "setting"])
    fixed = beta_colours(arms.loc[arms["algorithm"] == "kl_fixed", "setting"])
    styles, others = {}, iter(OTHER_COLOURS * 10)
    for arm, algorithm, setting in arms.itertuples(index=False):
        if algorithm == "kl_fixed":
            styles[arm] = (fixed[setting], "-")
        else:
            styles[arm] = ALGORITHM_STYLE.get(algorithm) or (next(others), (0, (1, 1)))
    return styles


def short(arm):
    """An arm's label for a legend."""
    return (
        arm.replace("kl_fixed beta=", "β=")
        .replace("kl_adaptive kl_target=", "adaptive, target ")
        .replace("trpo max_kl=", "TRPO, δ=")
        .replace("clip clip_epsilon=", "clip, ε=")
        .replace("advantage_normalization=none", "raw advantages")
    )


def legend_below(figure, axes, columns=6):
    """One legend for all axes, without repeats, under the figure."""
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(columns, len(entries)))


def log_axis(axis):
    """Decades with plain labels, no minor labels."""
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_formatter(NullFormatter())


def steps_axis(ax):
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.get_major_locator().set_params(nbins=4)


def log_beta_axis(ax, betas):
    ax.set_xscale("log")
    log_axis(ax.xaxis)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_xlim(min(betas) / 1.6, max(betas) * 1.6)


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
        if y and spec.is_first_col():
            ax.set_ylabel(y)


def label_ends(ax, ends):
    """Names beside the right ends of lines; `ends` maps a name to (x, y, colour). Log y."""
    ends = {name: end for name, end in ends.items() if np.isfinite(end[1]) and end[1] > 0}
    if not ends:
        return
    low, high = np.log10(ax.get_ylim())
    gap = 0.055 * (high - low)
    position = None
    for name, (x, y, colour) in sorted(ends.items(), key=lambda item: item[1][1]):
        wanted = np.log10(y)
        position = wanted if position is None else max(wanted, position + gap)
        ax.annotate(
            name, (x, y), (x * 1.03, 10**position), color=colour, fontsize=7, va="center",
            annotation_clip=False,
        )  # fmt: skip


# The figures ----------------------------------------------------------------------------


@styled
def learning_curves(frame):
    """Return over training per task; bands are 95 % bootstrap intervals of the mean."""
    figure, axes = facets(frame["task"].unique())
    styles = arm_styles(frame)
    for (task, arm), curve in frame.groupby(["task", "arm"], sort=False):
        colour, line = styles[arm]
        thick = 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2
        axes[task].plot(curve["env_steps"], curve["mean"], color=colour, ls=line, lw=thick, label=short(arm))
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
        here = frame[frame["task"] == task]
        sweep = here[here["kind"] == "sweep"].sort_values("setting")
        for _, band in here[here["kind"] == "band"].iterrows():
            colour, line = ALGORITHM_STYLE.get(band["algorithm"], (FAINT, ":"))
            ax.axhspan(band["low"], band["high"], color=colour, alpha=0.13, lw=0)
            ax.axhline(band["mean"], color=colour, ls=line, lw=1.2, label=short(band["arm"]))
        ax.plot(sweep["setting"], sweep["mean"], color="#b8356a", lw=1.4, zorder=3, label="fixed β")
        error = np.abs([sweep["mean"] - sweep["low"], sweep["high"] - sweep["mean"]])
        ax.errorbar(sweep["setting"], sweep["mean"], np.nan_to_num(error), fmt="none", ecolor="#b8356a", elinewidth=1, zorder=3)
        for (_, point), colour in zip(sweep.iterrows(), beta_colours(sweep["setting"]).values()):
            ax.plot(point["setting"], point["mean"], "o", ms=4.5, color=colour, mec="#6b2a7a", mew=0.5, zorder=4)
        log_beta_axis(ax, sweep["setting"])
        best = here[here["kind"] == "best"]
        if len(best):
            best = best.iloc[0]
            # In axes height: a bar just above the bottom edge.
            transform = ax.get_xaxis_transform()
            ax.plot([best["low"], best["high"]], [0.03, 0.03], transform=transform, color="#6b2a7a", lw=3.5, alpha=0.55, solid_capstyle="round", label="best β, 95 % CI")
            ax.plot(best["setting"], 0.03, "D", ms=4, transform=transform, color="#6b2a7a", zorder=5)
            ax.margins(y=0.14)
    labels(axes.values(), "β (fixed)", "final return")
    legend_below(figure, axes.values())
    return figure


@styled
def achieved_kl(frame):
    """KL(old||new) of each update over training, per task, for each fixed beta and TRPO."""
    figure, axes = facets(frame["task"].unique(), sharey=True)
    styles = arm_styles(frame)
    for (task, arm), curve in frame.groupby(["task", "arm"], sort=False):
        colour, line = styles[arm]
        ax = axes[task]
        thick = 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2
        ax.plot(curve["env_steps"], curve["median"], color=colour, ls=line, lw=thick, label=short(arm))
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
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    grid = dict(zip(units, figure.subplots(1, len(units), sharey=True, squeeze=False).flat))
    colours = dict(zip(sorted(frame.loc[frame["kind"] == "curve", "task"].unique()), TASK_COLOURS * 5))
    curves = frame[frame["kind"] == "curve"]
    for unit, ax in grid.items():
        ax.set_yscale("log")
        ax.set_title(unit)
        ends = {}
        for (task, estimate), curve in curves[curves["units"] == unit].groupby(["task", "estimate"]):
            crossfit = estimate == "cross-fitted"
            x = curve["progress"]
            ax.plot(x, curve["mean"], color=colours[task], lw=1.6 if crossfit else 0.9, ls="-" if crossfit else (0, (1, 1)))
            if crossfit:
                # An interval that reaches below zero is open at the bottom of a log axis: not drawn there.
                ax.fill_between(x, curve["low"], curve["high"], color=colours[task], alpha=0.13, lw=0)
            known = curve.dropna(subset=["mean"])
            if len(known) and (crossfit or task not in ends):
                ends[task] = (1.0, known["mean"].iloc[-1], colours[task])
        ax.set_xlim(0, 1)
        label_ends(ax, ends)
        ax.set_xlabel("share of training")
        log_axis(ax.yaxis)
        low, high = ax.get_ylim()
        for beta in frame.loc[frame["kind"] == "grid", "mean"]:
            if low < beta < high:
                ax.axhline(beta, color=FAINT, lw=0.8, ls="--", zorder=0)
                ax.annotate(f"β={beta:g}", (0.01, beta), fontsize=6.5, color=FAINT, va="bottom")
    next(iter(grid.values())).set_ylabel("implied β")
    handles = [
        matplotlib.lines.Line2D([], [], color=INK, lw=1.6, label="cross-fitted (noise removed)"),
        matplotlib.lines.Line2D([], [], color=INK, lw=0.9, ls=(0, (1, 1)), label="full batch (noise included)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
