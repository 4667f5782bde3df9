"""Event files of TensorBoard, written in the thread of the run, an epoch at once.

TensorBoard's own writer has a thread, which on a full disk prints its own traceback and loses what it held; and an
epoch that a kill cut short would leave half of its points.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from nas.files import write_bytes

PREFIX = "events.out.tfevents."


class EventFile:
    """An event file that grows at `flush` alone, by whole records.

    Args:
        folder: TensorBoard's folder of the run; its files are read in the order of their names, of which this is the
            last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        newest = max((_second(path) for path in folder.glob(f"{PREFIX}*")), default=-1)
        second = max(int(time.time()), newest + 1)
        self.path = folder / f"{PREFIX}{second:010d}.{socket.gethostname()}.{os.getpid()}.0"
        self.pending = io.BytesIO()
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        return str(self.folder)

    def add_event(self, event: Event) -> None:
        RecordWriter(self.pending).write(event.SerializeToString())

    def flush(self) -> None:
        """Append what was added since the last time.

        Raises:
            OSError: the disk is full; the file then ends as it did before.
        """
        content = self.pending.getvalue()
        self.pending = io.BytesIO()
        if not content:
            return
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        size = os.fstat(handle).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            os.close(handle)

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """Nothing was closed."""


class EventWriter(SummaryWriter):
    """PyTorch's writer of curves and pictures, onto an `EventFile`.

    Args:
        folder: TensorBoard's folder of the run.
        purge_step: a TensorBoard that is watching drops what it has read of this step and later ones.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._file = EventFile(folder)
        super().__init__(str(folder), purge_step=purge_step)

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            writer: Any = FileWriter.__new__(FileWriter)  # its own constructor starts the thread
            writer.event_writer = self._file
            writer.add_event(Event(step=self.purge_step, session_log={"status": "START"}))
            self.file_writer, self.all_writers = writer, cast(Any, {writer.get_logdir(): writer})
        return cast(FileWriter, self.file_writer)


def keep_events(folder: Path, before: int, without: Collection[str]) -> None:
    """Drop from the event files of a folder what belongs to no epoch, to epoch `before` or a later one, and what a kill
    left unfinished.

    Args:
        folder: TensorBoard's folder of the run; it need not be there.
        before: an epoch, counted from 1.
        without: tags that are dropped of every epoch.

    Raises:
        NasError: a file cannot be written.
    """
    for path in sorted(folder.glob(f"{PREFIX}*")):
        kept, records = io.BytesIO(), 0
        writer = RecordWriter(kept)
        for content in RawEventFileLoader(str(path)).Load():
            try:
                event = Event.FromString(content)
            except DecodeError:
                break
            tags = {value.tag for value in event.summary.value}
            if event.file_version or (0 < event.step < before and tags and tags.isdisjoint(without)):
                writer.write(content)
                records += bool(tags)
        if not records:
            path.unlink()
        elif kept.tell() != path.stat().st_size:
            write_bytes(path, kept.getvalue())


def _second(path: Path) -> int:
    """When an event file was begun, from its name."""
    digits = path.name.removeprefix(PREFIX).partition(".")[0]
    return int(digits) if digits.isdecimal() else -1
