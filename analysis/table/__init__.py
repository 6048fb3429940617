"""The tables of the report that belong to no figure, a module each (`analysis.item` says what it has)."""

from .. import markup
from ..item import found, in_order
from ..panel import ASKED

TABLES = in_order(found(__name__, __path__) | {name: item for name, item in ASKED.items() if not item.draw})


def latex(frame, caption, label) -> str:
    """A booktabs table."""
    shown = frame.map(markup.latex).set_axis(map(markup.latex, frame.columns), axis=1)
    layout = {"hrules": True, "position_float": "centering", "column_format": f"l{'r' * (len(frame.columns) - 1)}"}
    return shown.style.hide(axis="index").to_latex(caption=markup.latex(caption), label=f"tab:{label}", **layout)
