"""docs/why.md: its closed form is study's own updates, its measured part the committed runs; in a real browser."""

import itertools
import json
import os
import runpy
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from reference import configuration

from study.algorithm import natural_gradient, trpo
from study.fleet import Fleet, Rollout
from study.objective import change

BETAS, DELTAS, SCALES, RATIOS = (0.1, 1, 10), (0.001, 0.05), (0.01, 1, 100), (0.1, 1, 10)
SETTINGS = list(itertools.product(BETAS, DELTAS, SCALES, RATIOS, (False, True)))
NAMES = ("beta", "delta", "scale", "snr", "normalised")


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(ROOT / "docs/why.py"))


def steps(made, settings):
    """Of each setting and rule: divisor of F^-1 g, step [mean, log std], exact KL, by the updates that train here."""
    batches = [made["batch"](made["advantage"](scale, snr, normalised)) for *_, scale, snr, normalised in settings]
    batch = type(batches[0])(*map(torch.stack, zip(*batches)))
    theta = made["THETA"].expand(len(settings), -1)
    found = []
    for algorithm, module in (("natural_gradient", natural_gradient), ("trpo", trpo)):
        plain = {"damping": 0.0, "cg_iterations": 2, "line_search": False}
        number = [{"beta": s[0]} if module is natural_gradient else {"max_kl": s[1]} for s in settings]
        configs = [configuration("cartpole", algorithm, plain | n, seed=i) for i, n in enumerate(number)]
        fleet = Fleet(configs, made["POLICY"], torch.float64)
        new, _, metrics = module.update(fleet, theta, (), Rollout(batch, None))
        divisor = metrics["beta" if module is natural_gradient else "implied_beta"]
        found.append((divisor, (new - theta)[:, made["MOVED"]], fleet.each(change)(new, batch).kl))
    return found


# What the page says -----------------------------------------------------------------------


def length(made, step):
    """sqrt(s^T F s) [R] of steps [R, 2]."""
    return torch.einsum("ri,ij,rj->r", step, torch.tensor(made["problem"]()["fisher"], dtype=step.dtype), step).sqrt()


@pytest.mark.parametrize("normalised", [False, True])
def test_rewards_times_c_move_the_penalised_step_alone_and_only_on_raw_advantages(made, normalised):
    (_, penalised, _), (multiplier, constrained, _) = steps(made, [(1, 0.01, c, 1, normalised) for c in (1.0, 7.0)])
    factor = 1 if normalised else 7
    torch.testing.assert_close(penalised[1], factor * penalised[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(constrained[1], constrained[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(multiplier[1], factor * multiplier[0], rtol=1e-6, atol=0)


def test_noise_lengthens_the_penalised_step_on_raw_and_shortens_it_on_normalised_advantages(made):
    """By sqrt(1 + 1 / snr^2) on raw ones; the constrained step keeps its length, and both turn from the signal."""
    ratios = torch.tensor([0.1, 0.5, 1, 3, 10], dtype=torch.float64)
    (_, raw, _), (_, constrained, _) = steps(made, [(1, 0.01, 1, r, False) for r in ratios.tolist()])
    torch.testing.assert_close(length(made, raw) / length(made, raw)[2], ((1 + ratios**-2) / 2).sqrt())
    torch.testing.assert_close(length(made, constrained), torch.full_like(ratios, 0.02).sqrt())
    (_, normalised, _), (_, bounded, _) = steps(made, [(1, 0.01, 1, r, True) for r in ratios.tolist()])
    assert (length(made, normalised).diff() > 0).all()
    torch.testing.assert_close(bounded, constrained, rtol=1e-6, atol=0)
    signal = torch.tensor(made["problem"]()["signal"], dtype=torch.float64)
    for step in (raw, constrained, normalised):  # the cosine to F^-1 signal, in the metric of F
        cosine = (
            step @ signal / length(made, step) / made["squared"](*[made["gradient"](made["parts"]()[0])] * 2).sqrt()
        )
        torch.testing.assert_close(cosine, ratios / (1 + ratios**2).sqrt(), rtol=1e-6, atol=0)


def test_signal_and_noise_are_as_the_problem_says(made):
    signal, noise, spread = made["parts"]()
    one, zero = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for part in (signal, noise):
        torch.testing.assert_close(part.mean(), zero, rtol=0, atol=1e-12)
        torch.testing.assert_close(part.square().mean(), one)
    torch.testing.assert_close((signal * noise).mean(), zero, rtol=0, atol=1e-12)
    g, n = made["gradient"](signal), spread * made["gradient"](noise)
    torch.testing.assert_close(made["squared"](g, n), zero, rtol=0, atol=1e-12)
    torch.testing.assert_close(made["squared"](g, g), made["squared"](n, n))
    torch.testing.assert_close(made["advantage"](1.0, 1.0, True), made["advantage"](1.0, 1.0, False), rtol=1e-6, atol=0)


def test_what_is_measured_is_in_the_committed_tables(made):
    content = made["content"]()
    runs = pd.read_parquet(ROOT / "results/scales/runs.parquet")
    curves = pd.read_parquet(ROOT / "results/scales/curves.parquet")
    median = curves.groupby("run_id")[["kl_after", "implied_beta"]].median()
    config = runs["config"].map(json.loads)
    runs = runs.assign(scale=[c["reward_scale"] for c in config], kind=[c["advantage_normalization"] for c in config])
    plain = runs[(runs["kind"] == "none") & (runs["scale"] == 1) & runs["beta"].notna()]
    length = np.log(median.loc[plain["run_id"], "kl_after"]).groupby(plain["task"].to_numpy()).mean()
    assert made["TASKS"] == (length.idxmin(), length.idxmax())
    seen = 0
    for shown, task in zip(content["measured"], made["TASKS"], strict=True):
        for kind, normalization in (("raw", "none"), ("normalised", "batch")):
            own = runs[(runs["task"] == task) & (runs["kind"] == normalization)]
            for arm in shown["kinds"][kind]["arms"]:
                column = "max_kl" if arm["algorithm"] == "trpo" else "beta"
                here = own[(own["algorithm"] == arm["algorithm"]) & (own[column] == arm["value"])]
                for c, kl in arm["points"]:
                    expected = median.loc[here.loc[here["scale"] == c, "run_id"], "kl_after"]
                    assert sorted(kl) == pytest.approx(sorted(expected), rel=1e-3)
                    seen += len(kl)
            for c, implied in shown["kinds"][kind]["implied"]:
                here = own[(own["algorithm"] == "trpo") & (own["scale"] == c)]
                assert sorted(implied) == pytest.approx(sorted(median.loc[here["run_id"], "implied_beta"]), rel=1e-3)
    assert seen == (runs["task"].isin(made["TASKS"])).sum() == 96
    for shown in content["measured"]:  # "the lines rise less than c^2"
        for arm in shown["kinds"]["raw"]["arms"]:
            c, kl = np.array([[c, np.mean(np.log(kl))] for c, kl in arm["points"]]).T
            assert (np.diff(kl) < 2 * np.diff(np.log(c))).all(), arm
    assert content["runs"] == {"steps": 1e6, "updates": 488, "seeds": 2}


# In a browser -----------------------------------------------------------------------------


class Browser:
    """Chromium by its debugging protocol over pipes: keys, sizes and colour schemes as a user's."""

    def __init__(self, folder):
        down, up = os.pipe(), os.pipe()
        command = (
            "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe "
            f"--user-data-dir={folder} about:blank 3<&{down[0]} 4>&{up[1]}"
        )
        self.process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(down[0], up[1]), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(down[0])
        os.close(up[1])
        self.to, self.back, self.number, self.session, self.events = down[1], os.fdopen(up[0], "rb"), 0, {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **self.session}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self):
        found = bytearray()
        while (letter := self.back.read(1)) != b"\0":
            assert letter, "chromium has ended"
            found += letter
        return json.loads(found)

    def open(self, path, width, height, scheme):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def close(self):
        os.close(self.to)
        self.process.terminate()
        self.process.wait()
        self.back.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if shutil.which("chromium") is None:
        pytest.skip("no chromium")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("why") / "why.html"
    path.write_text(made["PAGE"].format(made["figure"]()))
    return path


def test_the_closed_form_is_the_natural_gradients_and_trpos_update(made, browser, page):
    browser.open(page, 1280, 800, "light")
    asked = json.dumps([dict(zip(NAMES, setting)) for setting in SETTINGS])
    shown = browser.value(f"{asked}.map(why.closed)")
    assert len(shown) == len(SETTINGS) == 108
    fisher = np.array(made["problem"]()["fisher"])
    for rule, (divisor, step, exact) in zip(("penalty", "constraint"), steps(made, SETTINGS)):
        ours = [own[rule] for own in shown]
        np.testing.assert_allclose([own["divisor"] for own in ours], divisor, rtol=1e-6)
        np.testing.assert_allclose([own["step"] for own in ours], step, rtol=1e-6, atol=1e-12)
        shown_exact = [np.inf if own["exact"] is None else own["exact"] for own in ours]  # JSON has no infinity
        np.testing.assert_allclose(shown_exact, exact, rtol=1e-6, atol=1e-15)
        model = np.einsum("ri,ij,rj->r", step, fisher, step) / 2
        np.testing.assert_allclose([own["kl"] for own in ours], model, rtol=1e-6)


CELLS = "[...document.querySelectorAll('.said td')].map(cell => cell.textContent)"
DRAWN = "[...document.querySelectorAll('figure > svg')].map(svg => svg.innerHTML)"
TAB, RIGHT, SPACE = ("Tab", 9), ("ArrowRight", 39), (" ", 32)


def test_keys_alone_move_every_slider_and_the_numbers_follow(browser, page):
    browser.open(page, 1280, 800, "light")
    start, seen = browser.value(CELLS), []
    for _ in range(6):
        browser.press(*TAB)
        name = browser.value("document.activeElement.name || document.activeElement.type")
        label = browser.value("document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent")
        before = browser.value(CELLS), browser.value(DRAWN)
        browser.press(*(RIGHT if name in NAMES[:4] else SPACE))
        browser.value("new Promise(resolve => setTimeout(resolve, 50))")
        after = browser.value(CELLS), browser.value(DRAWN)
        seen.append(name)
        assert label.strip() and before[1] != after[1], name
        if name in NAMES[:4]:
            assert before[0] != after[0], name
            said = browser.value("document.activeElement.getAttribute('aria-valuetext')")
            assert said == browser.value("document.activeElement.parentNode.querySelector('output').value")
    assert seen == [*NAMES, "reset"]
    assert browser.value(CELLS) == start == ["β = 1.00", *start[1:3], "1.00", start[4], "0.0100", start[6], "1.00"]
    browser.value("document.querySelector('[name=scale]').value = 1; why.draw()")
    assert [browser.value(CELLS)[place] for place in (3, 7)] == ["10.0", "1.00"]


FAULTS = """(() => {
  const found = [], root = document.querySelector(".why");
  if (/NaN|undefined|Infinity/.test(root.outerHTML.split("<script")[0])) found.push("no number");
  if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the screen");
  for (const svg of root.querySelectorAll("figure > svg")) {
    const frame = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll("text")];
    const boxes = texts.map(text => text.getBoundingClientRect());
    boxes.forEach((box, i) => {
      const words = texts[i].textContent;
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1
          || box.top < frame.top - 1)
        found.push(`cut: ${words}`);
      if (parseFloat(getComputedStyle(texts[i]).fontSize) * frame.width / 340 < 10) found.push(`small: ${words}`);
      boxes.slice(i + 1).forEach((other, j) => {
        if (box.left < other.right - 1 && other.left < box.right - 1
            && box.top < other.bottom - 1 && other.top < box.bottom - 1)
          found.push(`over each other: ${words}, ${texts[i + 1 + j].textContent}`);
      });
    });
  }
  for (const cell of root.querySelectorAll("td, th, label, output"))
    if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth) found.push(`cut: ${cell.textContent}`);
  return found;
})()"""
LIGHTNESS = """(() => {
  const paint = colour => {
    const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).reduce((sum, x) => sum + x, 0) / 765;
  };
  const text = getComputedStyle(document.querySelector(".why")).color;
  return [paint(text), ...[0, 1, 2].map(i => paint(getComputedStyle(document.querySelector(`.law .b${i}`)).stroke))];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (800, 1000), (1280, 800)])
def test_nothing_is_cut_or_written_over_in_any_size_and_scheme(browser, page, width, height, scheme):
    browser.open(page, width, height, scheme)
    for values in (
        "",
        "scale=2",
        "scale=2,snr=-1,beta=-1",
        "scale=-2,snr=-1,beta=1",
        "scale=1,snr=1,beta=-1,delta=-1.3",
        "delta=-3,normalised=1",
    ):
        for name, value in (pair.split("=") for pair in values.split(",") if pair):
            kind = "checked" if name == "normalised" else "value"
            browser.value(f"document.querySelector('.why form').{name}.{kind} = {value}")
        browser.value("why.draw()")
        assert browser.value(FAULTS) == [], values
    if width == 1280:
        assert browser.value("document.querySelector('.why').getBoundingClientRect().bottom") <= height, "one screen"
    text, *betas = browser.value(LIGHTNESS)
    assert text < 0.3 if scheme == "light" else text > 0.7
    assert max(betas) < 0.75 if scheme == "light" else min(betas) > 0.45
    asked = {e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"}
    assert asked == {page.as_uri()}
    assert not [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
    assert page.stat().st_size < 60_000
