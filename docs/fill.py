"""python docs/fill.py docs/tutorial.md: gives a page's commands anew, in a fresh folder, and fills in what they say.

A `$ ` line of a console block is a command, what follows up to the next one its output. Files that the page shows
(`\"\"\"name.py: ...`) lie in the folder, and variables that its sh blocks set are known. A command with ... is for show
and stays as it is. The page is written when all commands have succeeded. Numbers in its prose are not filled in.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def filled(page: str, folder: Path) -> str:
    """The page with the outputs of its commands as they are in this folder. Raises RuntimeError where one fails."""
    variables: list[str] = []

    def block(fence: re.Match) -> str:
        language, code = fence.groups()
        if language == "python" and (name := re.match(r'"""(\w+\.py):', code)):
            (folder / name[1]).write_text(code)
        if language == "sh":
            variables.extend(re.findall(r'^\w+="[^"]*"', code, re.MULTILINE))
        if language != "console":
            return fence[0]
        parts = re.split(r"^(\$ (?:.*\\\n)*.*\n)", code, flags=re.MULTILINE)
        said = [_output(command, was, variables, folder) for command, was in zip(parts[1::2], parts[2::2])]
        return f"```console\n{parts[0]}{''.join(said)}```"

    return FENCE.sub(block, page)


def _output(command: str, was: str, variables: list[str], folder: Path) -> str:
    """The line of the command with what it says, errors too."""
    if "..." in shlex.split(command, comments=True):
        return command + was
    print(command, end="", flush=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": f"{ROOT}:{folder}", "PYTHONWARNINGS": "default"}
    script = "\n".join([*variables, command[2:]])
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError(f"{command}{done.stdout}ends with {done.returncode}")
    print(done.stdout, end="", flush=True)
    return command + done.stdout + ("\n" if done.stdout and not done.stdout.endswith("\n") else "")


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("usage: python docs/fill.py PAGE.md")
    page = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = filled(page.read_text(), Path(folder))
        except RuntimeError as error:
            sys.exit(f"error: {error}; {page} is as it was")
    page.write_text(text)


if __name__ == "__main__":
    main()
