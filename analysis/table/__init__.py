"""The tables of the report, one page each (`analysis.exhibit` says what a page has), and how they are written."""

from .. import markup
from ..exhibit import found

TABLES = found(__name__, __path__, "text")


def latex(frame, caption, label) -> str:
    """A booktabs table."""

    def line(cells):
        return " & ".join(map(markup.latex, cells)) + r" \\"

    rows = "\n".join(line(row) for row in frame.itertuples(index=False))
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{markup.latex(caption)}}}\n\\label{{tab:{label}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(frame.columns) - 1)}}}\n"
        f"\\toprule\n{line(frame.columns)}\n\\midrule\n{rows}\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def markdown(frame) -> str:
    """A table of Markdown, numbers to the right."""

    def line(cells):
        return "| " + " | ".join(map(markup.markdown, cells)) + " |"

    rule = "|" + "---|" + "---:|" * (len(frame.columns) - 1)
    return "\n".join([line(frame.columns), rule, *(line(row) for row in frame.itertuples(index=False))])
