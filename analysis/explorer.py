"""explorer.html: every single run of a study on one page that needs no network, for questions no figure was made for.

The library that draws (Plotly) and the runs travel inside the page, compressed; the browser unpacks them.
"""

import base64
import gzip
import json
from string import Template

import numpy as np
import pandas as pd

from . import markup
from .data import KNOBS
from .names import DISPLAY_ORDER, SYMBOLS, arm_name, task_name

POINTS = 40  # of a curve


def write(study, out, title):
    """Writes explorer.html into `out`; its path, or None without Plotly."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    path = out / "explorer.html"
    text = PAGE.substitute(
        title=markup.html(title), library=_packed(get_plotlyjs()), runs=_packed(json.dumps(content(study)))
    )
    path.write_text(text, encoding="utf-8")
    return path


def _packed(text):
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def content(study):
    """What the page holds: tasks, arms with the values of their number, and of each run its curves.

    runs: [task, arm, value, seed, final return, returns, KLs] with task, arm and value as places in their lists.
    """
    runs = study.runs
    tasks = study.tasks
    parts = min(POINTS, study.bins)
    returns = pd.DataFrame(study.over_training("return_mean", parts)).ffill(axis=1).to_numpy()
    kl = study.curves["kl_after"].to_numpy(dtype=float)
    log_kl = study.over_training(np.log(np.where(kl > 0, kl, np.nan)), parts)
    order = runs["algorithm"].map(DISPLAY_ORDER).fillna(len(DISPLAY_ORDER))
    keys = runs.assign(order=order)[["condition", "order", "family"]].drop_duplicates()
    keys = keys.sort_values(["condition", "order", "family"])[["condition", "family"]]
    keys = sorted(keys.itertuples(index=False, name=None), key=lambda key: key[0] != study.main_condition)
    arms, place = [], {}
    for condition, family in keys:
        here = runs[(runs["condition"] == condition) & (runs["family"] == family)]
        values = sorted(here["setting"].dropna().unique())
        symbol = SYMBOLS[KNOBS[here["algorithm"].iloc[0]][0]] if values else ""
        place[condition, family] = len(arms), {value: i for i, value in enumerate(values)}
        name = arm_name(f"{family} {condition}".strip())
        if family == "kl_fixed":
            name = f"fixed β{', ' if condition else ''}{name.removeprefix('fixed β') if not condition else name}"
        arms.append(
            {"name": markup.visible(name), "symbol": symbol, "values": [float(value) for value in values] or [None]}
        )
    rows = []
    for number, run in runs.iterrows():
        arm, at = place[run["condition"], run["family"]]
        rows.append([
            tasks.index(run["task"]), arm, at.get(run["setting"], 0), int(run["seed"]), _short(run["score"]),
            [_short(value) for value in returns[number]],
            [_short(value, 3) for value in np.exp(log_kl[number])],
        ])  # fmt: skip
    steps = pd.Series(study.steps, index=runs.index).groupby(runs["task"]).max()
    return {
        "tasks": [markup.visible(task_name(task)) for task in tasks],
        "steps": [float(steps[task]) for task in tasks],
        "points": parts,
        "arms": arms,
        "runs": rows,
    }


def _short(value, digits=4):
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Explorer: $title</title>
<style>
:root { --paper: #ffffff; --ink: #1b1f24; --line: #d9dde2; --first: #b8356a; --second: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e4e7eb; --line: #353b43; --first: #f08fb4; --second: #6cb8ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1rem 2rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
form { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .6rem 1.5rem; }
fieldset { border: 1px solid var(--line); border-radius: 6px; min-width: 0; margin: 0; }
label { display: block; margin: .2rem 0; }
select, input[type=range] { width: 100%; font: inherit; }
#plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .5rem; }
#plots > div { height: 21rem; min-width: 0; }
#first legend { color: var(--first); } #second legend { color: var(--second); }
</style>
</head>
<body>
<h1>Explorer: $title</h1>
<p>Thin lines and points are single runs, thick lines their mean. <a href="index.html">Report</a></p>
<form>
<fieldset><legend>Task</legend><label>Task <select id="task"></select></label></fieldset>
<fieldset id="first"><legend>First arm</legend><label>Method <select></select></label>
<label><output></output><input type="range" min="0" value="0" step="1"></label></fieldset>
<fieldset id="second"><legend>Second arm</legend><label>Method <select></select></label>
<label><output></output><input type="range" min="0" value="0" step="1"></label></fieldset>
</form>
<div id="plots"><div id="curves"></div><div id="steps"></div><div id="finals"></div></div>
<script type="text/plain" id="library">$library</script>
<script type="text/plain" id="runs">$runs</script>
<script>
const unpacked = async id => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const drawn = text => text.replace(/[&<>]/g, letter => entities[letter]);  // Plotly reads tags in its texts
const option = (text, value) => new Option(text, value);
const mean = lists => lists[0].map((_, i) => {
  const known = lists.map(list => list[i]).filter(value => value !== null);
  return known.length ? known.reduce((a, b) => a + b) / known.length : null;
});
const geometric = lists => mean(lists.map(list => list.map(v => v === null ? null : Math.log(v))))
  .map(v => v === null ? null : Math.exp(v));
const ready = (async () => {
  const library = document.createElement("script");
  library.textContent = await unpacked("library");
  document.head.append(library);
  const data = JSON.parse(await unpacked("runs"));
  const task = document.getElementById("task");
  const sides = ["first", "second"].map(id => {
    const box = document.getElementById(id);
    return { id, method: box.querySelector("select"), slider: box.querySelector("input"),
      shown: box.querySelector("output") };
  });
  data.tasks.forEach((name, i) => task.add(option(name, i)));
  const fill = side => {  // only what was run on this task
    const before = side.method.value;
    side.method.replaceChildren();
    if (side.id === "second") side.method.add(option("none", ""));
    data.arms.forEach((arm, i) => {
      if (data.runs.some(run => run[0] === +task.value && run[1] === i)) side.method.add(option(arm.name, i));
    });
    const there = [...side.method.options].some(entry => entry.value === before);
    if (before && there) side.method.value = before;
    else if (side.id === "second" && side.method.options.length > 2) side.method.selectedIndex = 2;
    slide(side, before === side.method.value);
  };
  const values = side => side.method.value === "" ? [] : data.arms[+side.method.value].values
    .map((value, i) => ({ value, i })).filter(({ i }) => of(side, i).length);
  const of = (side, i) => data.runs.filter(run =>
    run[0] === +task.value && run[1] === +side.method.value && run[2] === i);
  const slide = (side, keep) => {
    const there = values(side), count = there.length, same = there.findIndex(({ value }) => value === side.value);
    side.slider.max = Math.max(0, count - 1);
    side.slider.disabled = count < 2;
    side.slider.value = keep && same >= 0 ? same : Math.floor(Math.max(0, count - 1) / 2);
  };
  const draw = () => {
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink");
    const line = style.getPropertyValue("--line");
    const x = Array.from({ length: data.points }, (_, i) => data.steps[+task.value] * (i + 1) / data.points);
    const traces = { curves: [], steps: [], finals: [] };
    let symbols = [];
    for (const side of sides) {
      const all = values(side), chosen = all[+side.slider.value], colour = style.getPropertyValue("--" + side.id);
      if (!chosen) { side.shown.textContent = ""; continue; }
      const arm = data.arms[+side.method.value];
      side.value = chosen.value;
      const label = arm.symbol ? arm.symbol + " = " + chosen.value : arm.name;
      side.shown.textContent = arm.symbol ? label : "no number to choose";
      side.slider.setAttribute("aria-valuetext", label);
      const name = drawn(arm.symbol ? arm.name + ", " + label : arm.name), runs = of(side, chosen.i);
      for (const [plot, column, average] of [["curves", 5, mean], ["steps", 6, geometric]]) {
        for (const run of runs) traces[plot].push({ x, y: run[column], mode: "lines", opacity: .45, showlegend: false,
          line: { color: colour, width: 1 }, name: "seed " + run[3] });
        traces[plot].push({ x, y: average(runs.map(run => run[column])), mode: "lines", name,
          line: { color: colour, width: 3 } });
      }
      const points = all.flatMap(({ value, i }) => of(side, i).map(run =>
        ({ x: value ?? drawn(arm.name), y: run[4], seed: run[3], on: i === chosen.i })));
      if (arm.symbol) symbols.push(arm.symbol);
      traces.finals.push({ x: points.map(p => p.x), y: points.map(p => p.y), mode: "markers", name: drawn(arm.name),
        text: points.map(p => "seed " + p.seed), xaxis: arm.symbol ? "x" : "x2",
        marker: { color: colour, size: points.map(p => p.on ? 11 : 6), opacity: points.map(p => p.on ? 1 : .45) } });
    }
    const axis = (title, more) => ({ title: { text: title }, gridcolor: line, zerolinecolor: line, automargin: true,
      ...more });
    const frame = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, size: 12 },
      margin: { l: 60, r: 10, t: 36, b: 44 }, hovermode: "closest",
      legend: { orientation: "h", y: -.25 } };
    const categories = traces.finals.some(trace => trace.xaxis === "x2");
    const both = categories && symbols.length;  // arms with a number to choose beside arms without one
    const layouts = {
      curves: { title: { text: "Return", x: 0 }, xaxis: axis("environment steps"), yaxis: axis("return") },
      steps: { title: { text: "KL of an update", x: 0 }, xaxis: axis("environment steps"),
        yaxis: axis("KL (nats)", { type: "log", tickformat: "~g", dtick: "D2" }) },
      finals: { title: { text: "Final return of single runs", x: 0 }, yaxis: axis("final return"),
        xaxis: axis([...new Set(symbols)].join(", "),
          { type: "log", tickformat: "~g", domain: both ? [0, .78] : [0, 1] }),
        ...(categories && { xaxis2: axis("", { type: "category", anchor: "y", domain: both ? [.84, 1] : [0, 1] }) }) },
    };
    for (const id in traces)
      Plotly.react(id, traces[id], { ...frame, ...layouts[id] }, { responsive: true, displayModeBar: false });
  };
  task.addEventListener("input", () => { sides.forEach(fill); draw(); });
  for (const side of sides) {
    side.method.addEventListener("input", () => { slide(side); draw(); });
    side.slider.addEventListener("input", draw);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  sides.forEach(fill);
  draw();
})();
</script>
</body>
</html>
""")
