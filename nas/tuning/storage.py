"""Where a study is: a journal file, a database, or Optuna's proxy; each patient with what it may meet.

A journal whose last line was cut short, by a power cut or a full disk, goes on from its last whole line. A database
that is being restarted is waited for. Workers that begin an empty one together all find or make its tables.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import update
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InvalidRequestError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)

from nas.errors import NasError
from nas.redaction import hide_secrets

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOURNAL = "study.journal"
"""The file of a study in its folder, unless it is on a database."""
HEARTBEAT_SECONDS = 60
PATIENCE_SECONDS = 300
"""How long a database that does not answer is waited for."""
BEGINNINGS = 20
"""How often making the tables is tried, where other workers make them at the same moment."""

_LASTING = re.compile(
    r"disk|full|quota|read-?only|no space|permission|authenticat|does not exist|no such|too many SQL variables", re.I
)
"""Faults of a database that waiting does not mend."""
_BUSY = re.compile(r"locked|starting up|shutting down|recovery|already exists|deadlock", re.I)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file or folder against other processes; the system lets go of it when a process dies.

    A file system without locks is used without.
    """
    if fcntl is None:
        yield
        return
    with open(path, "rb") if path.is_file() else _opened_folder(path) as stream:
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


class Journal(JournalFileBackend):
    """Optuna's journal, a JSON object a line, that is never made worse.

    Optuna's own lock is a file, which a killed worker leaves behind for all others to wait half a minute for.

    Raises:
        NasError: the file cannot be written to, or a line that is not the last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise NasError(f"cannot write {path}: {error.strerror}") from error
        super().__init__(str(path))
        with locked(path), open(path, "a+b") as stream:
            self._repair(stream, thorough=True)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise NasError(f"{self.path} was damaged while the study was run: {error}") from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            with locked(self.path), open(self.path, "a+b", buffering=0) as stream:
                self._repair(stream)
                size = stream.seek(0, 2)
                try:
                    self._write(stream, lines)
                except OSError:
                    stream.truncate(size)
                    raise
        except OSError as error:
            raise NasError(f"cannot write {self.path}: {error.strerror}; what it holds is whole") from error

    @staticmethod
    def _write(stream: Any, lines: bytes) -> None:
        while lines:
            lines = lines[stream.write(lines) :]
        os.fsync(stream.fileno())

    def _repair(self, stream: IO[bytes], thorough: bool = False) -> None:
        """Cut off a last line that is not whole. The lock is held, so nobody is still writing it."""
        size = stream.seek(0, 2)
        if not thorough:
            if size == 0:
                return
            stream.seek(size - 1)
            if stream.read(1) == b"\n":
                return
        stream.seek(0)
        whole, lines = 0, stream.read().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if _is_record(line):
                whole += len(line)
                continue
            if number < len(lines):
                raise NasError(
                    f"line {number} of {self.path} is damaged, and {len(lines) - number} lines follow it; "
                    "put back a copy of the file, or begin a study with another --output"
                )
            logging.getLogger("nas").warning(
                f"line {number} of {self.path}, its last one, was cut short; the study goes on from the line before"
            )
            stream.truncate(whole)


def _is_record(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "op_code" in record and "worker_id" in record


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    """Call again, with growing pauses, what failed because the database does not answer."""

    @functools.wraps(method)
    def call(self: PatientStorage, *arguments: Any, **keywords: Any) -> Any:
        if getattr(self.calling, "now", False):
            return method(self, *arguments, **keywords)
        begun, pause, tries = time.monotonic(), 0.25, 0
        while True:
            self.calling.now = True
            try:
                result = method(self, *arguments, **keywords)
                self.given_up = False
                return result
            except UpdateFinishedTrialError:
                if not tries:
                    raise
                return True  # it was written before the answer was lost
            except (StorageInternalError, SQLAlchemyError) as error:
                waited = time.monotonic() - begun
                if not _passing(error) or self.given_up or waited > self.patience:
                    self.given_up = True
                    raise NasError(
                        f"storage {hide_secrets(self.address)}: {reason_of(error)}"
                        + (f" (tried for {waited:.0f} s)" if tries else "")
                        + "; its trials are kept: give the same command again to go on"
                    ) from error
                if not tries:
                    logging.getLogger("nas").warning(f"the storage does not answer, waiting: {reason_of(error)}")
            finally:
                self.calling.now = False
            tries += 1
            time.sleep(pause)
            pause = min(2 * pause, 10)

    return call


class PatientStorage(RDBStorage):
    """Optuna's storage on a database, which waits for one that is being restarted.

    Trials whose workers died are put back to be run again under their number (`study.release_abandoned`); Optuna would
    fail them, and try their values again as another trial.

    Args:
        address: URL of SQLAlchemy.
        heartbeat: seconds between two signs of life; after five without one a worker is taken for dead.
    """

    patience: float = PATIENCE_SECONDS

    def __init__(self, address: str, heartbeat: int) -> None:
        self.address, self.calling, self.given_up = address, threading.local(), False
        connection = {"timeout": 60} if address.startswith("sqlite") else {}
        super().__init__(
            # Optuna fills in a template.
            address.replace("{", "{{").replace("}", "}}"),
            engine_kwargs={"pool_pre_ping": True, "connect_args": connection},
            heartbeat_interval=heartbeat,
            grace_period=5 * heartbeat,
        )

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return []

    def stale_trials(self, study_id: int) -> list[int]:
        """Ids of the running trials whose workers gave no sign of life."""
        return super()._get_stale_trial_ids(study_id)

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(NasError):  # what the trial itself asks of the storage will say so
            self._record_heartbeat(trial_id)

    def _record_heartbeat(self, trial_id: int) -> None:
        super().record_heartbeat(trial_id)

    def claim(self, trial_id: int, seen: str | None, name: str) -> bool:
        """Change the worker of a trial, unless another worker was quicker.

        Args:
            seen: the user attribute "worker" as it was seen; every beginning of a trial has its own.
            name: what it becomes.
        """
        row = models.TrialUserAttributeModel
        with self.scoped_session() as session:
            if seen is None:
                session.add(row(trial_id=trial_id, key="worker", value_json=json.dumps(name)))
                changed = 1
            else:
                mine: Any = (row.trial_id == trial_id, row.key == "worker", row.value_json == json.dumps(seen))
                result: Any = session.execute(
                    update(row)
                    .where(*mine)
                    .values(value_json=json.dumps(name))
                    .execution_options(synchronize_session=False)
                )
                changed = result.rowcount
            try:
                session.commit()
            except IntegrityError:
                session.rollback()
                return False
            return bool(changed)


for _name in (
    *(name for name in vars(BaseStorage) if not name.startswith("_") and name in vars(RDBStorage)),
    *("_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id"),
    *("stale_trials", "_record_heartbeat", "claim"),
):
    if _name not in ("remove_session", "record_heartbeat"):
        setattr(PatientStorage, _name, _patient(getattr(PatientStorage, _name)))


def open_storage(storage: str | Path, heartbeat: int = HEARTBEAT_SECONDS) -> BaseStorage:
    """The storage of a study.

    Args:
        storage: a journal file; a URL of SQLAlchemy, e.g. postgresql+psycopg://user@host/studies; or
            grpc://HOST:PORT of Optuna's proxy.
        heartbeat: seconds between signs of life of a worker on a database. After five without one, its trial is given
            to another.

    Raises:
        NasError: the driver of the database is not installed, or the database cannot be reached.
    """
    text = str(storage)
    proxy = re.fullmatch(r"grpc://([^:/]+):(\d+)", text)
    if (authority := re.match(r"[^:]+://([^/?\s]*)", text)) and authority[1].count("@") > 1:
        raise NasError(f"storage {hide_secrets(text)}: an @ in the password of an address is written %40")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            if proxy:
                return GrpcStorageProxy(host=proxy[1], port=int(proxy[2]))
            if "://" not in text:
                return JournalStorage(Journal(Path(text)))
            return _open_database(text, heartbeat)
        except NasError:
            raise
        except ImportError as error:
            raise NasError(
                f"storage {text} cannot be opened: the driver of this database is not installed ({error.name}); for "
                "PostgreSQL: pip install 'nas-antispoofing[postgresql]'"
            ) from error
        except Exception as error:
            # Drivers raise their own kinds of error, of which nothing is common.
            raise NasError(f"storage {text} cannot be opened: {reason_of(error)}") from error


def _open_database(address: str, heartbeat: int) -> PatientStorage:
    """The tables are made where there are none: of workers that make them together the slower ones look again."""
    for beginning in range(1, BEGINNINGS + 1):
        try:
            return PatientStorage(address, heartbeat)
        except (DBAPIError, StorageInternalError, AssertionError) as error:
            away = _cause(error, OperationalError | InterfaceError) and not _BUSY.search(str(error))
            if beginning == BEGINNINGS or away:
                raise
            time.sleep(0.1 * beginning)
    raise AssertionError


def reason_of(error: BaseException) -> str:
    """The first line that the driver said, without secrets."""
    while error.__cause__ is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error).strip()
    return hide_secrets(text.splitlines()[0] if text else type(error).__name__)


def _passing(error: BaseException) -> bool:
    """Whether waiting may help: the server is away, or another worker holds the file."""
    found = _cause(error, DBAPIError)
    if not isinstance(found, DBAPIError):
        # A session whose connection was lost within it.
        return _cause(error, InvalidRequestError | TimeoutError) is not None
    if _LASTING.search(str(found.orig)):
        return False
    return found.connection_invalidated or isinstance(found, OperationalError | InterfaceError)


def _cause(error: BaseException | None, kind: Any) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error
