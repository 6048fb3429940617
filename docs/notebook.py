"""python docs/notebook.py docs/tutorial.md: makes the notebook of a page, PAGE.ipynb beside it.

A file that the page shows (`\"\"\"name.py: ...`) becomes a cell that writes it, a variable of an sh block one that sets
it, and each command of a console block a cell with its output. All else is text; so is an sh block with commands, which
are for a shell.
"""

import re
import sys
from pathlib import Path

import nbformat
from fill import FENCE
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def notebook(page: str) -> str:
    """The notebook of a page, as the text of its file."""
    cells, text, at = [], "", 0
    for fence in FENCE.finditer(page):
        made = _cells(*fence.groups())
        text += page[at : fence.start() if made else fence.end()]
        at = fence.end()
        if made:
            cells += [new_markdown_cell(text.strip()), *made]
            text = ""
    cells += [new_markdown_cell((text + page[at:]).strip())]
    cells = [cell for cell in cells if cell.source]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # nbformat's own are drawn at random
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    made = new_notebook(cells=cells, metadata=kernel | {"language_info": {"name": "python"}})
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


def _cells(language: str, code: str) -> list:
    if language == "python":
        name = re.match(r'"""(\w+\.py):', code)
        return [new_code_cell((f"%%writefile {name[1]}\n" if name else "") + code.rstrip())]
    if language == "sh":
        variables = re.findall(r'^(\w+)=("[^"]*")$', code, re.MULTILINE)
        return [new_code_cell(f"{name} = {value}") for name, value in variables]
    if language == "console":
        parts = re.split(r"^\$ ((?:.*\\\n)*.*\n)", code, flags=re.MULTILINE)
        return [
            new_code_cell(f"!{command.rstrip()}", outputs=[new_output("stream", text=said)] if said else [])
            for command, said in zip(parts[1::2], parts[2::2])
        ]
    return []


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("usage: python docs/notebook.py PAGE.md")
    page = Path(sys.argv[1])
    page.with_suffix(".ipynb").write_text(notebook(page.read_text()))


if __name__ == "__main__":
    main()
