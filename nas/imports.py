"""Code of one's own that a recipe names: `imports: [my_space.py, package.module]`.

An imported file or module registers what a recipe then calls by name: a search space, a network, a loss, an
augmentation, a reader. It is Python and is run, with all that its user may do, so there is one rule about whose it is:

* What a person names on the command line, in a recipe or with --space-file, is run, and its digest is remembered among
  the things that this person has run (`trusted_file`).
* A run directory keeps a copy of what its recipe imported, with the digests, so that every verb works on it later and
  on other machines. Opening a run runs such a copy only if its digest is remembered, or if --trust-imports says so.

So a run of one's own opens as it is, and one from elsewhere runs nothing before it is asked to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from nas.errors import NasError
from nas.files import write_bytes, write_text
from nas.text_files import read_json

RECORD = "imports.json"
FOLDER = "imports"
LARGEST_FILE = 2**20
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class _Process:
    """What this process has imported, and what its command line allows."""

    digests: dict[str, str] = field(default_factory=dict)
    """Digest of what was run last under each name."""
    sources: dict[str, bytes] = field(default_factory=dict)
    """Text of the files among them."""
    given: tuple[str, ...] = ()
    trust: bool = False


_PROCESS = _Process()


def allow(files: Iterable[str | Path] = (), trust: bool = False) -> None:
    """Run files that are given on the command line, now; recipes that are loaded later import them too.

    Args:
        files: of --space-file. One of the same file name as a file of a run's record stands in for it.
        trust: whether run directories may run their copies whatever they hold.

    Raises:
        NasError: a file is missing, or fails.
    """
    _PROCESS.given, _PROCESS.trust = tuple(str(Path(file).absolute()) for file in files), trust
    run_imports(_PROCESS.given)


def given() -> tuple[str, ...]:
    """The files that the command line gives, as a recipe has them."""
    return _PROCESS.given


def resolve(names: Any, folder: Path) -> list[str]:
    """The value of the key `imports` with paths of files made absolute.

    Raises:
        NasError: it is not a list of files and modules.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise NasError(f"imports is a list of Python files and modules, e.g. [my_space.py], not {names!r:.60}")
    return [str((folder / Path(name).expanduser()).absolute()) if is_file(name) else name for name in names]


def is_file(name: str) -> bool:
    """Whether an import is a file; else it is a module."""
    return name.endswith(".py") or not _MODULE.fullmatch(name)


def run_imports(names: Sequence[str]) -> None:
    """Run files and modules that a person named, each once in a process, and remember that they did.

    Raises:
        NasError: one is missing, or fails.
    """
    for name in names:
        digest, source = _find(name)
        _run(name, digest, source)
        _remember(digest)


def write_record(folder: Path, names: Sequence[str]) -> None:
    """Write imports.json and the copies of files to a run directory; nothing where nothing is imported.

    Raises:
        NasError: the folder cannot be written to.
    """
    entries, taken = list[dict[str, str]](), set[str]()
    for name in names:
        source = _PROCESS.sources.get(name)
        digest = _PROCESS.digests.get(name)
        if digest is None:
            digest, source = _find(name)
        entry = {"name": name, "sha256": digest}
        if source is not None:
            file = Path(name).name
            if file in taken:
                file = f"{len(taken)}_{file}"
            taken.add(file)
            write_bytes(folder / FOLDER / file, source)
            entry["file"] = file
        entries.append(entry)
    if entries:
        write_text(folder / RECORD, json.dumps(entries, indent=2) + "\n")


def open_imports(folder: Path, names: Sequence[str]) -> None:
    """Run what the recipe of a run directory imports, by the rule at the top of this module.

    Args:
        folder: the run directory.
        names: the recipe's `imports`.

    Raises:
        NasError: the record or a copy is missing or damaged, fails, or is not trusted.
    """
    if not names:
        return
    record = {entry["name"]: entry for entry in _read_record(folder)}
    replaced = {Path(name).name: name for name in given()}
    for name in names:
        entry = record.get(name, {})
        if is_file(name) and Path(name).name in replaced:
            if entry and _PROCESS.digests.get(replaced[Path(name).name]) != entry["sha256"]:
                _say(f"{Path(name).name} is not as it was when {folder} was made")
            continue
        if not entry:
            raise NasError(f"{folder}: {RECORD} lacks {name}, which the recipe imports; give --space-file FILE")
        digest, source = _recorded(folder, entry) if is_file(name) else _find(name)
        if not (_PROCESS.trust or digest in _remembered()):
            what = f"its copy of {Path(name).name}" if source is not None else f"the module {name}"
            raise NasError(
                f"{folder} runs code, {what}, which you have not run on this machine before: look at it, then give "
                "--trust-imports" + (", or your own file with --space-file FILE" if source is not None else "")
            )
        if digest != entry["sha256"]:
            _say(f"the module {name} is not as it was when {folder} was made")
        elif source is not None and _is_other(Path(name), digest):
            _say(f"{name} was changed since {folder} was made; its own copy is used")
        _run(name, digest, source)
        _remember(digest)


def trusted_file() -> Path | None:
    """Where the digests of what a person has run are kept; None where the person has no home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Path(state) / "nas" / "imports"


def _find(name: str) -> tuple[str, bytes | None]:
    """Digest and, of a file, text of what is to be imported; nothing is run."""
    if is_file(name):
        source = _read(Path(name))
        return hashlib.sha256(source).hexdigest(), source
    digest = hashlib.sha256()
    for file in _module_files(name):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest(), None


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise NasError(f"imports: there is no Python file {path}")
        with open(path, "rb") as stream:
            source = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise NasError(f"imports: cannot read {path}: {error.strerror}") from error
    if len(source) > LARGEST_FILE:
        raise NasError(f"imports: {path} is larger than a Python file may be ({LARGEST_FILE:,} bytes)")
    return source


def _module_files(name: str) -> list[Path]:
    """The file of a module and those of the packages that it is in, found without running any of them."""
    files, path = list[Path](), None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        spec = PathFinder.find_spec(full, path)
        if spec is None:
            raise NasError(f"imports: there is no module {full!r} (a file ends with .py, and stands by its path)")
        if spec.origin and Path(spec.origin).is_file():
            files.append(Path(spec.origin))
        path = list(spec.submodule_search_locations or [])
    return files


def _run(name: str, digest: str, source: bytes | None) -> None:
    if _PROCESS.digests.get(name) == digest:
        return
    try:
        if source is None:
            import_module(name)
        else:
            module = ModuleType(f"nas_import_{re.sub(r'[^A-Za-z0-9_]', '_', Path(name).stem)}_{digest[:8]}")
            module.__file__ = name
            sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
            exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 (the rule at the top)
    except NasError as error:
        raise NasError(f"{name}: {error}") from error
    except SyntaxError as error:
        raise NasError(f"{name}:{error.lineno}: is not Python: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise NasError(f"{name} fails when it is imported: {type(error).__name__}: {error}") from error
    _PROCESS.digests[name] = digest
    if source is not None:
        _PROCESS.sources[name] = source


def _read_record(folder: Path) -> list[dict[str, str]]:
    if not os.path.isfile(folder / RECORD):
        return []
    try:
        entries: list[dict[str, str]] = read_json(folder / RECORD, "record of imports")
        for entry in entries:
            if not _DIGEST.fullmatch(entry["sha256"]) or not isinstance(entry["name"], str):
                raise ValueError(entry)
    except (NasError, ValueError, KeyError, TypeError) as error:
        raise NasError(f"{folder / RECORD} is damaged: {error}") from error
    return entries


def _recorded(folder: Path, entry: dict[str, str]) -> tuple[str, bytes]:
    """Digest and text of the run's copy of a file."""
    source = _read(folder / FOLDER / Path(str(entry.get("file"))).name)
    digest = hashlib.sha256(source).hexdigest()
    if digest != entry["sha256"]:
        raise NasError(f"{folder}: {FOLDER}/{entry.get('file')} is not as it was when the run was made ({RECORD})")
    return digest, source


def _is_other(path: Path, digest: str) -> bool:
    """Whether the file is there, with another content."""
    try:
        return path.is_file() and hashlib.sha256(_read(path)).hexdigest() != digest
    except (OSError, NasError):
        return False


def _remembered() -> set[str]:
    path = trusted_file()
    try:
        return set(path.read_text(encoding="ascii").split()) if path is not None else set()
    except (OSError, UnicodeDecodeError):
        return set()


def _remember(digest: str) -> None:
    """Add a digest; where nothing can be kept, every run asks for --trust-imports."""
    path = trusted_file()
    if path is None or digest in _remembered():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(path, "a", encoding="ascii") as stream:
            stream.write(f"{digest}\n")
    except OSError:
        return


def _say(sentence: str) -> None:
    logging.getLogger("nas").warning(sentence)
