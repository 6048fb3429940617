"""Where the configuration's files lie: beside this module in an installed package, at the root in a checkout."""

from pathlib import Path

_STUDY = Path(__file__).parent
_PLACES = [_STUDY / "conf", _STUDY.parent / "conf"]
CONF = next((folder for folder in _PLACES if (folder / "config.yaml").is_file()), _PLACES[-1])


def shown(file: str = "") -> str:
    """A path below CONF for a message, a folder with a slash at its end: from the current folder where CONF lies below
    it, else absolute."""
    path = CONF / file
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return str(path) if path.suffix else f"{path}/"
