"""The explorer holds every run, needs no network, and answers to its sliders in a real browser."""

import base64
import gzip
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import synthetic
from synthetic import CLIP, TRPO, Task, fixed

from analysis import data
from analysis.report import explorer

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    arms = [TRPO, CLIP, *fixed([0.3, 3.0, 30.0]), *fixed([3.0], advantage_normalization="none")]
    runs = synthetic.study([Task("a-v0"), Task("hopper")], arms, seeds=2, iterations=12)
    study = data.load([synthetic.write(folder / "s", *runs)])
    return study, explorer.write(study, folder, "a <study>")


def held(path):
    packed = re.search('id="runs">(.*?)</script>', path.read_text())[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_every_run_is_in_it_with_its_numbers(made):
    study, path = made
    content = held(path)
    assert len(content["runs"]) == len(study.runs) and content["tasks"] == ["a-v0", "Hopper"]
    names = {arm["name"]: arm["values"] for arm in content["arms"]}
    assert names["fixed β"] == [0.3, 3, 30] and names["TRPO"] == [0.01]
    assert [values for name, values in names.items() if "raw advantages" in name] == [[3]]
    returns, kl = study.over_training("return_mean", content["points"]), study.curves["kl_after"]
    for number, (task, arm, value, seed, final, shown, steps) in enumerate(content["runs"]):
        run = study.runs.loc[number]
        assert study.tasks[task] == run["task"] and seed == run["seed"]
        assert final == pytest.approx(run["score"], rel=1e-3)
        assert content["arms"][arm]["values"][value] == run["setting"]
        known = np.isfinite(returns[number])
        assert np.array(shown, float)[known] == pytest.approx(returns[number][known], rel=1e-3)
        one_each = study.curves["run"] == number  # 12 updates in 12 parts
        assert np.array(steps, float) == pytest.approx(kl[one_each].to_numpy(), rel=1e-2)


def test_it_is_one_small_page_that_asks_for_nothing(made):
    _, path = made
    text = path.read_text()
    assert path.stat().st_size < 5e6 and "<title>Explorer: a &lt;study&gt;</title>" in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["index.html"]


TRIED = """<script>
const faults = [];
addEventListener("error", event => faults.push(event.message));
addEventListener("unhandledrejection", event => faults.push(String(event.reason)));
ready.then(() => {
  const line = id => JSON.stringify(document.getElementById(id).data.map(trace => trace.y));
  const slider = document.querySelector("#first input"), before = ["curves", "steps"].map(line);
  const labels = document.querySelectorAll("label select, label input[type=range]").length;
  slider.value = +slider.max;
  slider.dispatchEvent(new Event("input"));
  const moved = ["curves", "steps"].map(line).every((now, i) => now !== before[i]);
  const runs = document.getElementById("finals").data[0].y.length;
  const task = document.getElementById("task"), wide = document.documentElement.scrollWidth <= innerWidth;
  task.value = "1";
  task.dispatchEvent(new Event("input"));
  const other = line("curves") !== before[0];
  const shown = document.querySelector("#first output").textContent;
  document.title = [labels, moved, runs, other, wide, shown, faults.length].join("|");
}).catch(error => { document.title = "failed: " + error; });
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.parametrize("width", [500, 1200])
def test_in_a_browser_a_slider_and_a_task_change_the_figures(made, tmp_path, width):
    page = tmp_path / "tried.html"
    page.write_text(made[1].read_text().replace("</body>", TRIED))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
         "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert re.search("<title>(.*?)</title>", done.stdout)[1] == "5|true|6|true|true|β = 30|0"
