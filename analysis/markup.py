"""Text in the languages of the report: whatever a label holds is read as it is, never as markup."""

import html as standard
import re
import unicodedata
from csv import QUOTE_NONNUMERIC

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "β": r"$\beta$", "δ": r"$\delta$", "ε": r"$\varepsilon$",
    "Φ": r"$\Phi$", ">": "$>$", "<": "$<$", "–": "--", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
}  # fmt: skip


def visible(text):
    """On one line: line breaks, other controls and changes of direction are named by their numbers, ‹U+000A›."""
    text = str(text)
    if text.isascii() and text.isprintable():  # nearly all texts, and the explorer's two megabytes
        return text
    return "".join(letter if _seen(letter) else f"‹U+{ord(letter):04X}›" for letter in text)


def _seen(letter):
    turns = unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return not turns and unicodedata.category(letter) not in ("Cc", "Zl", "Zp", "Cs")


def html(text):
    return standard.escape(visible(text))


def latex(text):
    text = visible(text)
    made = "".join(LATEX.get(letter, letter) for letter in text)
    if "--" in text:  # a ligature otherwise
        made = made.replace("-", "{-}")
    return f"{{}}{made}" if text.startswith(("[", "*")) else made  # \\[ has an argument


def markdown(text):
    """For a line of prose or a table's cell; CommonMark, and kramdown with mathematics."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", visible(text))
    text = re.sub(r"[\\`*<$|]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
    text = re.sub(r"^(\s*\d*)(#+|-+|[>+.)])(?= |$|(?<=>))", r"\1\\\2", text)  # begins no list, heading or quotation
    return text.replace("~", "&#126;") if text.count("~") > 1 else text


def csv(frame):
    """The frame's text of comma-separated values, numbers to six digits."""
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    if "\r" in text:  # which is quoted only on request
        text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n", quoting=QUOTE_NONNUMERIC)
    return text


def fenced(text, language=""):
    """A block of code, in a fence longer than any in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"
