"""The list of mutations keeps up with the code and the suite; trying them is `python tests/mutations.py`."""

import ast

from mutations import MUTATIONS, ROOT, places, table


def test_each_mistake_can_still_be_made_and_names_a_test_of_the_default_suite():
    functions = {}
    for own in MUTATIONS:
        assert places(own) == 1 and own.new != own.old, f"{own.words}: {own.file} has {own.old!r} {places(own)} times"
        file, _, name = own.test.partition("[")[0].partition("::")
        if file not in functions:
            body = ast.parse((ROOT / "tests" / file).read_text()).body
            functions[file] = {part.name: part for part in body if isinstance(part, ast.FunctionDef)}
        assert name in functions[file], f"{own.words}: there is no tests/{own.test}"
        marks = map(ast.unparse, functions[file][name].decorator_list)
        assert not any("mark.slow" in mark for mark in marks), f"{own.words}: {own.test} is slow"


def test_the_page_has_the_table():
    assert table() in (ROOT / "docs/how-to/check.md").read_text()
