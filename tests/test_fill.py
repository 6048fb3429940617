"""docs/fill.py: a page's outputs are what its commands say, wherever they stood before."""

import importlib.util
import re

import pytest
from conftest import ROOT

PAGE = """# A page

```python
\"\"\"mine.py: a module.\"\"\"

number = 6
```

```sh
source nothing
words="a 'b c'
  d"
```

```console
$ python -c 'import mine; print(7 * mine.number)'
an old answer
of two lines
$ for word in $words; do echo $word; done   # a comment
$ echo for \\
    show
$ python -m study ... name=x
as it was
$ echo told >&2; echo '```' | tr '`' '.'
```

```text
$ echo no command
```
"""


@pytest.fixture(scope="module")
def fill():
    spec = importlib.util.spec_from_file_location("fill", ROOT / "docs/fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_outputs_of_a_page_are_those_of_its_commands(fill, tmp_path):
    page = fill.filled(PAGE, tmp_path)
    console = re.search(r"```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert console == [
        "$ python -c 'import mine; print(7 * mine.number)'",
        "42",
        "$ for word in $words; do echo $word; done   # a comment",
        *"a 'b c' d".split(),
        "$ echo for \\",
        "    show",
        "for show",
        "$ python -m study ... name=x",
        "as it was",
        "$ echo told >&2; echo '```' | tr '`' '.'",
        "told",
        "...",
    ]
    rest = re.compile(r"```console\n.*?^```", re.DOTALL | re.MULTILINE)
    assert rest.sub("", page) == rest.sub("", PAGE) and fill.filled(page, tmp_path) == page


def test_a_command_that_fails_leaves_the_page_as_it_was(fill, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\n$ false\nwas\n```\n")
    before = page.read_text()
    monkeypatch.setattr("sys.argv", ["fill", str(page)])
    with pytest.raises(SystemExit, match="false\nends with 1; .*page.md is as it was"):
        fill.main()
    assert page.read_text() == before


def test_the_tutorial_is_such_a_page(fill, tmp_path, monkeypatch):
    """Every command of it is given, in its order; what it says stands below it."""
    given = []

    def say(command, was, variables, folder):
        given.append(command)
        assert (folder / "my_tasks.py").exists() and any(word.startswith("own=") for word in variables)
        return f"{command}said\n"

    monkeypatch.setattr(fill, "_output", say)
    page = (ROOT / "docs/tutorial.md").read_text()
    made = fill.filled(page, tmp_path)
    assert given == re.findall(r"^\$ .*\n", page, re.MULTILINE) and made.count("said\n") == len(given) > 5
