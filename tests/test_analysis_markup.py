"""A label is text in every language of the report: read back, it is what it was."""

import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import synthetic
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from analysis import markup, report
from analysis.data import load
from analysis.panel import PANELS
from analysis.report import explorer, page

NASTY = (
    "a$\\frac$", "$x$", "100 % of_it & #1", "^~<b>x</b>{}|\\", "'\"`", "``a```", "\U0001f600 你好", "שלום", "\u202eabc",
    "a\nb\tc\r\nd", "\x00\x1b[2J", "x" * 300, "_a_ *b* __c__ **d** ~~e~~ ~f~", "-1", "- a", "=1+1", "## a", "1. a",
    "> a",
    "[a](b) ![c](d) [e]: f", "&amp; &#38; &lt;", "</script><!-- -->", "a--b---c", "[a] *", "<http://a.b>", "",
    " ",
)  # fmt: skip
LABELS = st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8"), max_size=40)


class Read(HTMLParser):
    """The text of a page and its tags."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def every_label(test):
    for label in NASTY:
        test = example(label)(test)
    return settings(max_examples=100, deadline=None)(given(LABELS)(test))


@every_label
def test_html_shows_a_label_as_it_is(label):
    seen = Read(f"<p>{markup.html(label)}</p>")
    assert seen.text == markup.visible(label) and seen.tags == ["p"]
    cells = Read(str(page.template("show.html.j2").module.table(pd.DataFrame({label: [label]}))))
    assert cells.text.count(markup.visible(label)) >= 2 and cells.tags.count("td") == 1


@every_label
def test_markdown_shows_a_label_as_it_is_in_prose_and_in_tables(label):
    shown, words = " ".join(markup.visible(label).split()), markup.markdown(label)
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    prose = Read(reader.render(f"The task {words} is hard.\n\n- {words.strip() or 'none'}"))
    assert " ".join(prose.text.split()) == " ".join(f"The task {shown} is hard. {shown or 'none'}".split())
    assert prose.tags == ["p", "ul", "li"]
    made = page.template("show.md.j2").module.table(pd.DataFrame({"a": [label], "b": ["c"]}))
    cells = Read(reader.render(str(made)))
    assert " ".join(cells.text.split()) == " ".join(f"a b {shown} c".split()) and cells.tags.count("td") == 2
    assert not re.search(r"(?<!\\)(\\\\)*\$", words), "mathematics"


@every_label
def test_code_stays_within_its_fence(label):
    text = f"{label.replace(chr(13), '')}\n```"
    (block,) = MarkdownIt("commonmark").parse(markup.fenced(text, "sh"))
    assert block.type == "fence" and block.content.rstrip("\n") == text.replace("\x00", "\ufffd").rstrip("\n")


SAFE = {made: letter for letter, made in markup.LATEX.items()}


@every_label
def test_latex_has_nothing_but_letters_and_commands_for_letters(label):
    made = markup.latex(label)
    tokens = re.findall("|".join([*map(re.escape, sorted(SAFE, key=len, reverse=True)), r"\{-\}", r"^\{\}", "."]), made)
    for token in tokens:
        assert token in SAFE or token in ("{-}", "{}") or token not in markup.LATEX, token
    read = "".join({"{-}": "-", "{}": ""}.get(token, SAFE.get(token, token)) for token in tokens)
    plain = str.maketrans({"“": "`", "”": "'"})
    if not set("“”’–") & set(label):
        assert read == markup.visible(label)
    assert not re.match(r"[\[*]", made) and "--" not in markup.latex(label.replace("–", "")), plain


@every_label
def test_a_table_of_numbers_holds_labels_as_they_are(label):
    text = markup.csv(pd.DataFrame({"task": [label], "score": [0.5]}))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["task", "score"], [label, "0.5"]]


def test_prose_without_anything_odd_is_left_alone():
    for text in ("kl_fixed beta=3, 0.71 [0.65, 0.77]", "P(TRPO > arm) = 50 %", "R&D ~ 3", "-0.05 [-0.1, 0.02]"):
        assert markup.markdown(text) == text
    assert markup.latex("β=3 & [1]") == r"$\beta$=3 \& [1]"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A study whose tasks have the labels that go wrong, but for what no figure could hold."""
    tasks = [synthetic.Task(f"odd note={label}") for label in NASTY if label.strip()][:9]
    runs, curves = synthetic.study(tasks, [synthetic.TRPO, *synthetic.fixed([1.0, 10.0])], seeds=2, iterations=8)
    return synthetic.write(tmp_path_factory.mktemp("odd") / 'a "b" \\c', runs, curves)


def test_a_study_of_odd_labels_has_a_report(odd, monkeypatch, undrawn):
    """Figures with such names are drawn in test_analysis_defaults.py."""
    monkeypatch.setattr(
        report, "PANELS", {name: PANELS[name] for name in ("learning_curves", "beta_profile", "table_1")}
    )
    study = load(odd)
    out = report.build(study, odd / "report").parent
    seen = Read((out / "index.html").read_text(encoding="utf-8"))
    for task in study.tasks:
        assert markup.visible(task) in seen.text
    assert "b" not in seen.tags[seen.tags.index("main") :] or "<b>x</b>" not in (out / "index.html").read_text()
    words = (out / "report.md").read_text(encoding="utf-8")
    front = yaml.safe_load(words.split("---\n")[1])
    assert front["title"].startswith("Penalty or constraint")
    for path in (out / "tables").glob("*.csv"):
        frame = pd.read_csv(path, keep_default_na=False)
        if "task" in frame:
            assert set(frame["task"]) <= {*study.tasks, "average", "all tasks", "mean", ""}, path
    shown = explorer.content(study)["tasks"]
    assert shown == [markup.visible(task) for task in study.tasks]
