"""results/ as a data set.

    python -m analysis.dataset                    describes it anew: croissant.json, CARD.md's numbers, figures.sha256
    python -m analysis.dataset OUT.zip [FOLDER]   packs results/, or a study's folder, for Zenodo or a hub

croissant.json is metadata in MLCommons' Croissant 1.0: the types of the Parquet files' columns, with the meanings that
study/record.py gives them. figures.sha256 has the digests of the figures that README.md and docs/ show, in the form
of `sha256sum -c`. An archive has a SHA256SUMS of the same form.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from . import numbers
from .data import EVIDENCE, StudyError, head

KINDS = {"runs": "one row per run", "curves": "one row per run and iteration"}
TYPES = {"string": "sc:Text", "int32": "cr:Int32", "int64": "cr:Int64", "float": "cr:Float32", "double": "cr:Float64"}
CROISSANT = """
    citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source
    subField transform
"""
CONTEXT = {  # that of the specification, as far as it is used
    **{name: f"cr:{name}" for name in CROISSANT.split()},
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
CONTEXT = dict(sorted(CONTEXT.items()))
NUMBERS = re.compile(r"(^\| in numbers \| \|\n\|---\|---\|\n)(?:\|.*\n)*\n", re.MULTILINE)  # of CARD.md
SHOWN = re.compile(r"!\[[^\]]*\]\(([^)]*report/figures/[^)]*\.png)\)")


# Croissant ------------------------------------------------------------------------------


def croissant(results: Path) -> dict:
    """The metadata of a folder of studies, beside a CITATION.cff.

    Raises StudyError for a column without a meaning.
    """
    groups = [group for kind in KINDS for group in _groups(results, kind)]
    cited = yaml.safe_load((results.parent / "CITATION.cff").read_text(encoding="utf-8"))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "penalty-versus-constraint",
        "description": "Training runs of policy optimisation in reinforcement learning: TRPO's KL constraint, fixed "
        "and adaptive KL penalties, clipping and further arms, on the same tasks, seeds, networks, batches and value "
        "fits. A folder per study, with the final return of each run and the diagnostics of each update.",
        "citeAs": f"{cited['title']}, version {cited['version']}, {cited['date-released']:%Y}",
        "creator": [{"@type": "Organization", "name": author["name"]} for author in cited["authors"]],
        "datePublished": str(cited["date-released"]),
        "version": cited["version"],
        "license": f"https://spdx.org/licenses/{cited['license']}",
        "keywords": ["reinforcement learning", "policy optimisation", "TRPO", "PPO", "KL penalty", "trust region"],
        "distribution": [_file_set(results, *group) for group in groups],
        "recordSet": [_record_set(results, *group) for group in groups],
    }


def _groups(results, kind):
    """(name, kind, files, columns that they lack) of the files that have the same columns; the newest studies first.

    Readers of Croissant take one file at a time, and stop at one that lacks a column.
    """
    by_columns = {}
    for file in _files(results, kind):
        by_columns.setdefault(frozenset(pq.read_schema(file).names), []).append(file)
    every = frozenset.union(*by_columns)
    for number, columns in enumerate(sorted(by_columns, key=lambda columns: (-len(columns), sorted(columns))), 1):
        yield kind if number == 1 else f"{kind}-{number}", kind, by_columns[columns], sorted(every - columns)


def _file_set(results, name, kind, files, lacking):
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "description": f"{kind}.parquet of {_older(lacking)}",
        "encodingFormat": "application/x-parquet",
        "includes": [f"{file.parent.relative_to(results).as_posix()}/{file.name}" for file in files],
    }


def _older(lacking):
    return f"studies older than the columns {', '.join(lacking)}" if lacking else "studies with all columns"


def _record_set(results, name, kind, files, lacking):
    from study.record import CURVES, RUNS

    meanings = {"runs": RUNS, "curves": CURVES}[kind]
    types = _types(files)
    unknown = [column for column in types if column not in meanings]
    if unknown:
        raise StudyError(f"study/record.py says nothing of the columns {', '.join(unknown)} of {kind}.parquet")
    study = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": rf"^(.*)/{kind}\.parquet$"}}
    fields = [_field(name, "study", "folder of the study", "sc:Text", study)]
    for column, meaning in meanings.items():
        if column in types:
            fields.append(_field(name, column, meaning, TYPES[types[column]], {"extract": {"column": column}}))
    key = ["study", "run_id"] + ["iteration"] * (kind == "curves")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{KINDS[kind]} of {_older(lacking)}; a run may be in several studies",
        "key": [{"@id": f"{name}/{column}"} for column in key],
        "field": fields,
    }


def _field(record_set, column, meaning, type_, source):
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column}",
        "name": column,
        "description": meaning,
        "dataType": type_,
        "source": {"fileSet": {"@id": f"{record_set}-files"}, **source},
    }


def _types(files):
    """{column: type} of files with the same columns."""
    whole = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="permissive")
    return {name: str(stored).removeprefix("large_") for name, stored in zip(whole.names, whole.types)}


def _files(results, kind):
    found = [path for path in _content(results) if path.name == f"{kind}.parquet"]
    if not found:
        raise StudyError(f"no study in {results}: {kind}.parquet is missing")
    return found


# Card -------------------------------------------------------------------------------------


def counts(results: Path) -> dict[str, str]:
    """What CARD.md says in numbers, of all studies but those in training."""
    files = [file for file in _files(results, "runs") if head(file.parent).get("complete", True)]
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    config = rows["config"].map(json.loads)
    rows["id"] = [each["task"]["id"] for each in config]
    runs = rows.drop_duplicates("run_id")
    updates = sum(pq.read_metadata(file.with_name("curves.parquet")).num_rows for file in files)
    seeds = runs.groupby(["task", "arm", "total_steps"])["seed"].nunique()
    usual_rate, usual_layers = (
        pd.Series([each.get(name) == usual for each in config])
        for name, usual in (("learning_rate", 0.0003), ("hidden", [64, 64]))
    )
    return {
        "studies": f"{len(files)}",
        "different runs": f"{len(runs):,}",
        "tasks": f"{runs['id'].nunique()}",
        "algorithms": f"{runs['algorithm'].nunique()}",
        "updates": f"{updates:,}",
        "environment steps": f"{runs['total_steps'].sum() / 1e9:.2f} billion",
        "runs of at most 200,000 steps; of a million or more": f"{_share(runs['total_steps'] <= 200_000)}; "
        f"{_share(runs['total_steps'] >= 1_000_000)}",
        "seeds of an arm on a task: one, two, three, more": "; ".join(
            _share(each) for each in (seeds == 1, seeds == 2, seeds == 3, seeds > 3)
        ),
        "most seeds of an arm on a task": f"{seeds.max()}",
        "rows with a learning rate of 0.0003; of 64 and 64 units": f"{_share(usual_rate)}; {_share(usual_layers)}",
        "rows that are complete": f"{(rows['status'] == 'complete').sum():,} of {len(rows):,}",
        "rows whose commit ends in `+`": f"{rows['commit'].str.endswith('+').sum()}",
    }


def _share(true: pd.Series) -> str:
    return f"{100 * true.mean():.0f} %"


def card(results: Path) -> str:
    """CARD.md with its table of numbers made anew."""
    rows = "".join(f"| {name} | {number} |\n" for name, number in counts(results).items())
    text = (results / "CARD.md").read_text(encoding="utf-8")
    return NUMBERS.sub(lambda found: f"{found[1]}{rows}\n", text)


# Digests of figures -----------------------------------------------------------------------


def figures(results: Path) -> list[Path]:
    """The figures below `results` that pages show. Raises StudyError for one that is not there."""
    found = set()
    for page in numbers.pages():
        for path in SHOWN.findall(page.read_text(encoding="utf-8")):
            figure = (page.parent / path).resolve()
            if figure.is_relative_to(results.resolve()):
                if not figure.is_file():
                    raise StudyError(f"{page} shows {path}, which is not there")
                found.add(figure)
    return sorted(found)


def write_digests(results: Path) -> str:
    """Writes figures.sha256; one line that says which digests are others than before.

    The same data and the versions of constraints.txt give the same bytes.
    """
    path = results / "figures.sha256"
    before = dict(line.split("  ")[::-1] for line in path.read_text().splitlines()) if path.exists() else {}
    made = {figure.relative_to(results.resolve()).as_posix(): _sha256(figure) for figure in figures(results)}
    path.write_text(_sums(made), encoding="utf-8", newline="")
    others = [name for name in made.keys() | before.keys() if made.get(name) != before.get(name)]
    same = f"other bytes than before: {', '.join(sorted(others))}" if others else "the same bytes as before"
    return f"{path}: {len(made)} figures, {same}"


def _sha256(file):
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sums(digests):
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def describe(results: Path) -> list[str]:
    """Writes croissant.json, CARD.md's numbers and figures.sha256; a line on what is there, and one on the figures."""
    text = json.dumps(croissant(results), indent=2, ensure_ascii=False)
    (results / "croissant.json").write_text(f"{text}\n", encoding="utf-8", newline="")
    (results / "CARD.md").write_text(card(results), encoding="utf-8", newline="")
    rows = {kind: [pq.read_metadata(file).num_rows for file in _files(results, kind)] for kind in KINDS}
    found = f"{len(rows['runs'])} studies, {sum(rows['runs'])} runs, {sum(rows['curves'])} updates"
    return [f"{results / 'croissant.json'}: {found}", write_digests(results)]


# Archive ----------------------------------------------------------------------------------


def pack(archive: Path, folder: Path) -> list[str]:
    """Writes a ZIP of the folder with SHA256SUMS, and returns the names in it.

    Of a folder that git has, its committed files; of another one all files but hidden ones; with LICENSE and
    CITATION.cff where they lie beside it. The same files give the same bytes: nothing is compressed (Parquet is), and
    there are no dates.
    Raises StudyError where the archive exists, or files are not as they were committed.
    """
    if not folder.is_dir():
        raise StudyError(f"no such directory: {folder}")
    folder = folder.resolve()
    if changed := _git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--", "."):
        raise StudyError(f"{folder} is not as it was committed: {', '.join(map(str.strip, changed))}")
    files = {path.relative_to(folder).as_posix(): path for path in _content(folder)}
    if not files:
        raise StudyError(f"no files in {folder}")
    beside = (folder.parent / name for name in ("LICENSE", "CITATION.cff"))
    files |= {path.name: path for path in beside if path.is_file() and path.name not in files}
    sums = _sums({name: _sha256(path) for name, path in files.items()})
    try:
        with zipfile.ZipFile(archive, "x") as made:
            for name, path in sorted(files.items()):
                made.writestr(_member(f"{folder.name}/{name}"), path.read_bytes())
            made.writestr(_member(f"{folder.name}/SHA256SUMS"), sums)
    except OSError as error:
        raise StudyError(f"cannot write {archive}: {error.strerror}") from error
    return [*sorted(files), "SHA256SUMS"]


def _member(name):
    member = zipfile.ZipInfo(name)  # of 1980
    member.create_system, member.external_attr = 3, 0o644 << 16
    return member


def _content(folder):
    """The committed files of a folder; of one that git does not have, all but hidden ones."""
    if committed := _git(folder, "ls-files", "-z"):
        return [folder / name for name in committed]
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _git(folder, *words):
    """The words of git's answer; none outside of a repository, or without git."""
    try:
        said = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [word for word in said.split("\0") if word]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.dataset", description="Describes results/ as a data set, or packs it."
    )
    parser.add_argument("archive", nargs="?", type=Path, help="OUT.zip to pack (default: describe results/ anew)")
    parser.add_argument("folder", nargs="?", type=Path, default=EVIDENCE, help="to be packed (default: results/)")
    options = parser.parse_args(arguments)
    try:
        if options.archive:
            names = pack(options.archive, options.folder)
            size = options.archive.stat().st_size / 1e6
            print(f"{options.archive}: {len(names)} files, {size:.1f} MB, sha256 {_sha256(options.archive)}")
            return 0
        print(*describe(EVIDENCE), sep="\n")
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
