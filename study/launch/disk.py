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

LONGEST = 120  # bytes of a name that is made of a label; file systems take 255 or 143

# Errors of reading that say nothing about the file's content
HINDRANCES = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}

# Errors that a retry does not solve: the sweep stops, keeps what is finished, and says why.
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class Damaged(Exception):
    """A file whose content is not what was written; the message says how."""


class Unwritable(Exception):
    """The disk is full, not writable or not readable; one line."""


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
        if error.errno in HOPELESS or path.is_dir():
            raise Unwritable(f"{path} cannot be written: {error.strerror}") from error
        raise


# What some file systems (network, FUSE, Windows) answer to flushing or opening a folder, which they cannot do
NOT_OFFERED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR, errno.EACCES}


def _flush_folder(folder: Path) -> None:
    """The rename itself, so that it outlives a power cut; where the file system offers that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise


def filename(label: str) -> str:
    """A label as the name of a file or folder: as it is where that is possible, else its letters and a digest."""
    letters = [letter if letter.isprintable() and letter != "/" else "_" for letter in label]
    name = "".join(letters).encode(errors="replace")[:LONGEST].decode(errors="ignore")
    if name == label and not label.startswith((".", "-", " ")) and label.strip():
        return label
    digest = hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name.lstrip('.- ')} {digest}".strip()


def remove(path: Path) -> None:
    """Of what is not needed any more, if it is there; a folder in its place stays."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        pass


def keep_copy(path: Path, reason: str, folder: Path) -> None:
    """Copies a file from which something is about to be left out into folder/, and says so."""
    kept = aside(path, folder)
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, kept)
    console.print(f"[red]warning:[/] {path}: {reason}; the file as it was is kept as {kept}", highlight=False)


def aside(path: Path, folder: Path) -> Path:
    """A name in the folder, which is made, that no other file has."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.{time.monotonic_ns() % 10**6:06d}"


def set_aside(path: Path, reason: str, folder: Path) -> None:
    """Renames a damaged file into folder/, never to be read again, and says so."""
    kept = aside(path, folder)
    try:
        shutil.move(path, kept)
    except FileNotFoundError:
        return  # another process has moved it
    except OSError as error:
        raise Unwritable(f"{path}: {reason}; it cannot be set aside: {error.strerror}") from error
    console.print(f"[red]damaged:[/] {path}: {reason}; set aside as {kept}, made anew", highlight=False)


# Tables


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Parquet with a checksum in every page and the digest of all values in its metadata.

    Numbers are stored byte by byte, all first bytes first: a third smaller than as they are.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    frame = _frame(table)  # what will be read, whatever the user's options of pandas
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    storage = {"compression": "zstd", "use_byte_stream_split": numbers, "write_page_checksum": True}
    storage["use_dictionary"] = [name for name in table.schema.names if name not in numbers]
    table = table.replace_schema_metadata({**table.schema.metadata, DIGEST: digest(frame).encode()})
    write(path, lambda file: pq.write_table(table, file, **storage))


def read_table(path: Path, columns: list[str], keys: list[str] | None = None) -> pd.DataFrame:
    """The columns just as they were written; one that is younger than the file is null, but for
    the keys (all of them, if not given).

    Raises Damaged where that is impossible, Unwritable where it is not for the file's content.

    Parquet's page checksums leave page headers and the footer unguarded (one flipped bit in two hundred
    changed values unseen), hence the digest. A file without one, written elsewhere, has its pages alone checked.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        frame = _frame(table)
        missing = [name for name in (columns if keys is None else keys) if name not in frame]
        written = (table.schema.metadata or {}).get(DIGEST)
        seen = digest(frame).encode() if written is not None else None
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes may raise anything
        _if_hindered(path, error)
        raise Damaged(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None
    if missing:
        raise Damaged(f"has no column {', '.join(missing)}")
    if seen != written:
        raise Damaged("its values do not agree with their digest")
    return frame.reindex(columns=columns)


def _frame(table: pa.Table) -> pd.DataFrame:
    """With words as pandas' str, also where the user's options say otherwise."""
    words = pd.StringDtype("pyarrow", na_value=np.nan)
    return table.to_pandas(types_mapper={pa.string(): words, pa.large_string(): words}.get)


def _if_hindered(path: Path, error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in HINDRANCES:
        raise Unwritable(f"{path} cannot be read: {error.strerror or error}") from error


def columns(path: Path) -> list[str]:
    """Names of a table's columns."""
    return pq.read_schema(path).names


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        _if_hindered(path, error)
        raise Damaged(f"cannot be read: {error.strerror}") from None  # a folder, say


def write_signed(path: Path, content: bytes) -> None:
    def fill(file):
        file.write(SIGNED)
        file.write(hashlib.sha256(content).digest())
        file.write(content)

    write(path, fill)


def read_signed(path: Path) -> io.BytesIO:
    """Raises Damaged unless these are the bytes that were written."""
    content = _bytes(path)
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
    content = _bytes(path)
    try:
        held = json.loads(content)
        text = json.dumps(held["content"], sort_keys=True)
        agrees = hashlib.sha256(text.encode()).hexdigest() == held["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"is no signed JSON ({type(error).__name__})") from None
    if not agrees:
        raise Damaged("does not agree with its digest")
    return held["content"]
