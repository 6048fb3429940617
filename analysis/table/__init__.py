"""The tables of the report, one page each (`analysis.exhibit` says what a page has), and how they are written."""

from ..exhibit import found

TABLES = found(__name__, __path__, "text")

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
    "β": r"$\beta$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "Φ": r"$\Phi$", ">": "$>$", "<": "$<$", "–": "--",
    "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
}  # fmt: skip


def latex(frame, caption, label) -> str:
    """A booktabs table."""

    def line(cells):
        return " & ".join("".join(LATEX.get(letter, letter) for letter in str(cell)) for cell in cells) + r" \\"

    rows = "\n".join(line(row) for row in frame.itertuples(index=False))
    caption = "".join(LATEX.get(letter, letter) for letter in caption)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{caption}}}\n\\label{{tab:{label}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(frame.columns) - 1)}}}\n"
        f"\\toprule\n{line(frame.columns)}\n\\midrule\n{rows}\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def markdown(frame) -> str:
    """A table of Markdown, numbers to the right."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "---|" + "---:|" * (len(frame.columns) - 1)
    return "\n".join([line(frame.columns), rule, *(line(row) for row in frame.itertuples(index=False))])
