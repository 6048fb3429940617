"""Files that are whole or not there, and that are believed only if their digest agrees.

A write goes to a temporary file in the same folder, is flushed to the disk and renamed; a power cut leaves the
old file or the new one. What fails its check is renamed into set-aside/, named on the console, and made anew.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.console import console

DIGEST = b"study.sha256"  # key of a Parquet file's metadata
SIGNED = b"penalty-versus-constraint checkpoint 1\n"  # how a signed file begins

# Errors that a retry does not solve: the sweep stops, keeps what is finished, and says why.
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class Damaged(Exception):
    """A file whose content is not what was written; the message says how."""


class Unwritable(Exception):
    """The disk is full or not writable; one line."""


def write(path: Path, fill: Callable) -> None:
    """Atomically; fill(file) writes the bytes. Raises Unwritable where that is hopeless."""
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno in HOPELESS:
            raise Unwritable(f"{path} cannot be written: {error.strerror}") from error
        raise


def _flush_folder(folder: Path) -> None:
    """The rename itself, so that it outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_copy(path: Path, reason: str, folder: Path) -> None:
    """Copies a file from which something is about to be left out into folder/, and says so."""
    kept = aside(path, folder)
    shutil.copy2(path, kept)
    console.print(f"[red]warning:[/] {path}: {reason}; the file as it was is kept as {kept}", highlight=False)


def aside(path: Path, folder: Path) -> Path:
    """A name in the folder, which is made, that no other file has."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.{time.monotonic_ns() % 10**6:06d}"


def set_aside(path: Path, reason: str, folder: Path) -> None:
    """Renames a damaged file into folder/, never to be read again, and says so."""
    kept = aside(path, folder)
    try:
        path.rename(kept)
    except FileNotFoundError:
        return  # another process has moved it
    console.print(f"[red]damaged:[/] {path}: {reason}; set aside as {kept}, made anew", highlight=False)


# Tables


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Parquet with a checksum in every page and the digest of all values in its metadata.

    Numbers are stored byte by byte, all first bytes first: a third smaller than as they are.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    storage = {"compression": "zstd", "use_byte_stream_split": numbers, "write_page_checksum": True}
    storage["use_dictionary"] = [name for name in table.schema.names if name not in numbers]
    table = table.replace_schema_metadata({**table.schema.metadata, DIGEST: digest(frame).encode()})
    write(path, lambda file: pq.write_table(table, file, **storage))


def read_table(path: Path, columns: list[str], keys: list[str] | None = None) -> pd.DataFrame:
    """The columns just as they were written; one that is younger than the file is null, but for
    the keys (all of them, if not given).

    Raises Damaged where that is impossible.

    Parquet's page checksums leave page headers and the footer unguarded (one flipped bit in two hundred
    changed values unseen), hence the digest. A file without one, written elsewhere, has its pages alone checked.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        frame = table.to_pandas()
        missing = [name for name in (columns if keys is None else keys) if name not in frame]
        written = (table.schema.metadata or {}).get(DIGEST)
        seen = digest(frame).encode() if written is not None else None
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes may raise anything
        raise Damaged(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None
    if missing:
        raise Damaged(f"has no column {', '.join(missing)}")
    if seen != written:
        raise Damaged("its values do not agree with their digest")
    return frame.reindex(columns=columns)


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 of names, types and values; every NaN alike."""
    sha = hashlib.sha256()
    for name in frame:
        column = frame[name]
        sha.update(f"{name} {column.dtype} {len(column)}\n".encode())
        if column.dtype.kind == "f":
            values = column.to_numpy()
            sha.update(np.where(np.isnan(values), np.array(np.nan, values.dtype), values).tobytes())
        elif column.dtype.kind in "iub":
            sha.update(np.ascontiguousarray(column.to_numpy()).tobytes())
        else:
            codes, words = pd.factorize(column)
            sha.update(codes.astype("int64").tobytes())
            sha.update("\0".join(map(str, words)).encode())
    return sha.hexdigest()


# Anything else


def write_signed(path: Path, content: bytes) -> None:
    def fill(file):
        file.write(SIGNED)
        file.write(hashlib.sha256(content).digest())
        file.write(content)

    write(path, fill)


def read_signed(path: Path) -> io.BytesIO:
    """Raises Damaged unless these are the bytes that were written."""
    content = path.read_bytes()
    start = len(SIGNED) + 32
    if not content.startswith(SIGNED) or len(content) < start:
        raise Damaged("is cut short or no signed file")
    if hashlib.sha256(memoryview(content)[start:]).digest() != content[len(SIGNED) : start]:
        raise Damaged("does not agree with its digest")
    return io.BytesIO(memoryview(content)[start:])


def write_json(path: Path, content: dict) -> None:
    """Signed JSON: {"sha256": ..., "content": ...}."""
    text = json.dumps(content, sort_keys=True)
    signed = f'{{"sha256": "{hashlib.sha256(text.encode()).hexdigest()}",\n"content": {text}}}\n'
    write(path, lambda file: file.write(signed.encode()))


def read_json(path: Path) -> dict:
    """Raises Damaged unless this is the content that was written."""
    try:
        held = json.loads(path.read_bytes())
        text = json.dumps(held["content"], sort_keys=True)
        agrees = hashlib.sha256(text.encode()).hexdigest() == held["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"is no signed JSON ({type(error).__name__})") from None
    if not agrees:
        raise Damaged("does not agree with its digest")
    return held["content"]
