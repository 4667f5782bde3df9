"""Building a corpus: spoofed copies of human speech, and a manifest that says how each was made.

    OUTPUT/manifest.csv      a row per file: utterance,path,key,attack,speaker,partition,engine,version,parameters,...
    OUTPUT/corpus.json       the settings; a folder holds one corpus
    OUTPUT/train|dev|eval/   16 kHz 16-bit FLAC
    OUTPUT/progress.jsonl    finished work, while the build is not complete

Every file is a function of the seed, its source and the settings: neither the number of processes nor the order of the
work, nor an interruption, changes a byte of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from nas.data.attacks import RATE, get_attack
from nas.data.bonafide import Speech, find_speech
from nas.data.chain import Chain
from nas.data.corpus_folder import (
    PARTITIONS,
    Row,
    Work,
    begin,
    digest,
    finished_work,
    remove_files,
    require_claimable,
    sha256,
    sweep_partitions,
    to_csv,
    write_settings,
)
from nas.data.decode import decode
from nas.data.seeds import generator_for
from nas.errors import NasError, nearest, printable
from nas.files import write_bytes, write_text
from nas.folder_lock import working_on
from nas.progress import progress_bar

_LOG = logging.getLogger(__name__)

Options = Mapping[str, float | int | str]
LARGEST_OPTION = 8192
"""Frames, iterations and orders of attacks are counted up to this; more would only fill the memory."""


@dataclass(frozen=True)
class _Work:
    """A source and what is to be made of it: one bona fide file and one file per attack."""

    speech: Speech
    partition: str
    attacks: tuple[str, ...]
    output: Path
    seed: int
    chain: Chain
    options: Mapping[str, Options]


def build_corpus(
    bonafide: Sequence[str | Path],
    output: str | Path,
    attacks: Sequence[str] = ("world_copy", "griffin_lim"),
    evaluation_only: Sequence[str] = (),
    spoofs_per_utterance: int | None = None,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    workers: int | None = None,
    chain: Chain | None = None,
    options: Mapping[str, Options] | None = None,
    speaker_pattern: str | None = None,
    progress: bool = True,
    corrupt: Literal["skip", "strict"] = "skip",
) -> Path:
    """Build a corpus of bona fide and spoofed speech; a build that was cut off goes on where it stopped.

    Args:
        bonafide: folders of human speech (see `nas.data.bonafide.find_speech` for how speakers are told).
        output: folder of the corpus.
        attacks: names of registered attacks that every partition gets.
        evaluation_only: attacks that only `eval` gets, besides the others.
        spoofs_per_utterance: how many of its partition's attacks an utterance gets, in rotation; all by default.
        shares: share of the speakers of each partition, 0.5, 0.2 and 0.3 by default. Speakers never cross partitions.
        seed: everything that is drawn comes from it.
        workers: processes; one per core by default, 0 works in this process.
        chain: edge trim, durations, level, noise floor and codecs of both classes.
        options: settings of attacks by the attack's name, e.g. {"griffin_lim": {"iterations": 60}}.
        speaker_pattern: a regular expression whose first group is the speaker.
        progress: show a progress bar.
        corrupt: sources that cannot be used (unreadable, or an attack fails on them) are left out and listed; "strict"
            ends with their list once all others are done, and the build goes on when they are mended or removed.

    Returns:
        The path of manifest.csv.

    Raises:
        NasError: wrong settings, no usable speech, an engine that is not installed, an output folder that holds
            another corpus or that another process works on.
    """
    output, chain = Path(output), chain or Chain()
    shares = dict(shares) if shares is not None else {"train": 0.5, "dev": 0.2, "eval": 0.3}
    versions = {name: get_attack(name).engine_version() for name in (*attacks, *evaluation_only)}
    if len(versions) < len(attacks) + len(evaluation_only):
        raise NasError("an attack is named twice: `attacks` and `evaluation_only` must be different names")
    if not attacks:
        raise NasError("a corpus needs at least one attack that every partition gets")
    if workers is not None and workers < 0:
        raise NasError(f"the number of processes must be 0 (work in this one) or more, not {workers}")
    if spoofs_per_utterance is not None and not 1 <= spoofs_per_utterance <= len(attacks):
        raise NasError(
            f"spoofs_per_utterance must be 1 to {len(attacks)} (the attacks of train), not {spoofs_per_utterance}"
        )
    options = _checked(options or {}, (*attacks, *evaluation_only))
    settings = {
        "seed": seed,
        "attacks": {name: versions[name] for name in attacks},
        "evaluation_only": {name: versions[name] for name in evaluation_only},
        "spoofs_per_utterance": spoofs_per_utterance,
        "shares": shares,
        "chain": asdict(chain),
        "options": options,
    }
    require_claimable(output, settings)
    speech = find_speech(bonafide, speaker_pattern)
    partition_of = split_speakers(speech, shares, seed)
    allowed = {name: tuple(attacks) + (tuple(evaluation_only) if name == "eval" else ()) for name in PARTITIONS}
    work = _Work(speech[0], "", (), output, seed, chain, options)
    plan = _plan(work, speech, partition_of, allowed, spoofs_per_utterance)
    with working_on(output):
        require_claimable(output, settings)
        sources = _checksums(speech)
        begin(output, settings, sources)
        sweep_partitions(output)
        rows = _work_off(plan, sources, workers, progress, corrupt)
        used = {row["source"] for row in rows}
        left_out = {name: source for name, source in sources.items() if name not in used}
        write_settings(output, settings, digest(sources, used), left_out)
        manifest = write_text(output / "manifest.csv", to_csv(rows))
        (output / "progress.jsonl").unlink()
    return manifest


def _work_off(
    plan: Sequence[_Work],
    sources: Mapping[str, str],
    workers: int | None,
    progress: bool,
    corrupt: Literal["skip", "strict"],
) -> list[Row]:
    """Do what is left of the plan; the rows of the whole corpus, by utterance."""
    output, shortest = plan[0].output, plan[0].chain.shortest_seconds
    finished = finished_work(output, sources)
    done: dict[str, list[Row]] = {}
    failed: dict[str, str] = {}
    for work in plan:
        name = work.speech.utterance
        if _is_done(work, sources[name], finished.get(name)):
            done[name] = finished[name].rows
    todo = [work for work in plan if work.speech.utterance not in done]
    with (
        (output / "progress.jsonl").open("a", encoding="utf-8") as journal,
        progress_bar(
            total=len(plan), initial=len(done), unit="source", desc="corpus", leave=True, show=progress
        ) as bar,
    ):
        for name, made in _run(todo, workers):
            if isinstance(made, str):
                failed[name] = made
            else:
                done[name] = made
                journal.write(json.dumps({"source": name, "checksum": sources[name], "rows": made}) + "\n")
                journal.flush()
            bar.update()
    rows = sorted((row for made in done.values() for row in made), key=lambda row: row["utterance"])
    _tell_left_out(plan, done, failed)
    if failed and (corrupt == "strict" or not rows):
        first = "; ".join(list(failed.values())[:3]) + ("; ..." if len(failed) > 3 else "")
        raise NasError(
            f"{len(failed)} of {len(plan)} sources cannot be used: {first} (mend or remove them and give the same "
            "command; --corrupt skip leaves them out)"
        )
    if not rows:
        raise NasError(f"no source is {shortest} s long once its edges are trimmed: the corpus is empty")
    kept = {row["path"] for row in rows}
    remove_files(output, (row for work in finished.values() for row in work.rows if row["path"] not in kept))
    return rows


def _is_done(work: _Work, source: str, finished: Work | None) -> bool:
    """Whether what an earlier start made of a source is what this one would make of it."""
    if finished is None or finished.source != source:
        return False
    made = {(row["attack"], row["partition"]) for row in finished.rows}
    return not made or made == {(attack, work.partition) for attack in ("-", *work.attacks)}


def _tell_left_out(plan: Sequence[_Work], done: Mapping[str, Sequence[Row]], failed: Mapping[str, str]) -> None:
    """Say which sources are no part of the corpus, and which partitions have nothing for it."""
    for sentence in failed.values():
        _LOG.warning("left out: %s", sentence)
    if failed:
        _LOG.warning("%d of %d sources cannot be used; they are named above", len(failed), len(plan))
    short = [name for name, rows in done.items() if not rows]
    if short:
        shown, shortest = ", ".join(short[:3]) + (", ..." if len(short) > 3 else ""), plan[0].chain.shortest_seconds
        _LOG.warning("left out, shorter than %g s once trimmed: %d of %d (%s)", shortest, len(short), len(plan), shown)
    filled = {row["partition"] for rows in done.values() for row in rows}
    for partition in sorted({work.partition for work in plan} - filled):
        _LOG.warning("the partition %s has no utterances, since none of its sources can be used", partition)


def split_speakers(speech: Iterable[Speech], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """speaker -> partition, by seed and within every folder, so that each partition has its share of every folder.

    Raises:
        NasError: a share for something that is no partition, shares that do not add up to 1, or too few speakers.
    """
    unknown = [name for name in shares if name not in PARTITIONS]
    if unknown or any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise NasError(f"the shares of {', '.join(PARTITIONS)} must be positive and add up to 1, not {dict(shares)}")
    folder_of: dict[str, int] = {}
    for item in speech:
        folder_of.setdefault(item.speaker, item.folder)
    partition_of: dict[str, str] = {}
    wanted = [name for name in PARTITIONS if shares.get(name, 0) > 0]
    for folder in sorted(set(folder_of.values())):
        names = sorted(name for name in folder_of if folder_of[name] == folder)
        order = generator_for(seed, "speakers", *names).permutation(len(names))
        ends = np.round(np.cumsum([shares[name] for name in wanted]) * len(names)).astype(int)
        for rank, index in enumerate(order):
            partition_of[names[index]] = wanted[int(np.searchsorted(ends, rank, side="right"))]
    empty = [name for name in wanted if name not in partition_of.values()]
    if empty:
        raise NasError(
            f"{len(folder_of)} speakers are too few for the shares {dict(shares)}: {empty[0]} has no speaker"
        )
    return partition_of


def _checked(options: Mapping[str, Options], attacks: Sequence[str]) -> dict[str, dict[str, float | int | str]]:
    for name, settings in options.items():
        if name not in attacks:
            raise NasError(f"there are options for {name!r}, which is not among the attacks: {', '.join(attacks)}")
        defaults = get_attack(name).options()
        for key, value in settings.items():
            if key not in defaults:
                raise NasError(f"attack {name!r} has no option {key!r}{nearest(key, tuple(defaults))}")
            if reason := _unfit(value, defaults[key]):
                raise NasError(f"options.{name}.{key} must be {reason}, not {str(value)[:60]!r}")
    return {name: dict(settings) for name, settings in options.items()}


def _unfit(value: object, default: object) -> str | None:
    """What an option of that default must be; None where the value is such."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        return None if type(value) is int and 1 <= value <= LARGEST_OPTION else f"a whole number, 1 to {LARGEST_OPTION}"
    if isinstance(default, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_OPTION
        return None if fits else f"a number of at most {LARGEST_OPTION}"
    return None if isinstance(value, str) or value == default else "a text"


def _plan(
    template: _Work,
    speech: Sequence[Speech],
    partition_of: Mapping[str, str],
    allowed: Mapping[str, tuple[str, ...]],
    count: int | None,
) -> list[_Work]:
    """What is to be made of every source; attacks rotate, so that each makes the same number of files."""
    plan = []
    turn = dict.fromkeys(PARTITIONS, 0)
    sources = {item.utterance for item in speech}
    for item in speech:
        partition = partition_of[item.speaker]
        names = allowed[partition]
        number = len(names) if count is None else count
        chosen = tuple(names[(turn[partition] + step) % len(names)] for step in range(number))
        turn[partition] += number
        clash = sources.intersection(f"{item.utterance}_{name}" for name in chosen)
        if clash:
            raise NasError(f"the source {item.path} has a spoof with the name of another source: {min(clash)}")
        plan.append(replace(template, speech=item, partition=partition, attacks=chosen))
    return plan


def _run(todo: Sequence[_Work], workers: int | None) -> Iterator[tuple[str, list[Row] | str]]:
    """Do the work, in this process or in several, and give what `_make` returns as each source is finished."""
    if workers == 0:
        yield from map(_make, todo)
        return
    count = min(workers or os.cpu_count() or 1, max(len(todo), 1))
    spawn = multiprocessing.get_context("spawn")
    with _single_threaded(), ProcessPoolExecutor(count, spawn, initializer=_end_with_parent) as pool:
        waiting = [pool.submit(_make, work) for work in todo]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool:
            raise NasError(
                "a process of the build died (out of memory?): the same command goes on from there"
            ) from None
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


def _end_with_parent() -> None:
    """Leave this process when the one that started it is gone, even killed: an orphan would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """One numerical thread in each new process: several processes share the cores, and sums keep one order."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _make(work: _Work) -> tuple[str, list[Row] | str]:
    """Write the bona fide file and the spoofs of one source.

    Returns:
        The source's name with its rows, none if it is too short, or with the reason why it cannot be used.
    """
    speech = work.speech
    try:
        prepared = work.chain.prepare(decode(speech.path, RATE))
    except NasError as error:
        return speech.utterance, str(error)
    if prepared is None:
        return speech.utterance, []
    waveform, samples = prepared
    bonafide = {"key": "bonafide", "attack": "-", "engine": "-", "version": "-", "parameters": "{}"}
    files: list[tuple[str, np.ndarray, Row]] = [(speech.utterance, waveform, bonafide)]
    for name in work.attacks:
        attack = get_attack(name)
        random = generator_for(work.seed, name, speech.utterance)
        speaker_random = generator_for(work.seed, name, "speaker", speech.speaker)
        try:
            spoofed, parameters = attack(waveform, random, speaker_random, **work.options.get(name, {}))
        except NasError:
            raise  # a wrong setting, or an engine that is not there: no other source would fare better
        except Exception as error:
            return speech.utterance, printable(f"attack {name!r} failed on {speech.path}: {error}")
        if not np.isfinite(spoofed).all() or not np.abs(spoofed).max(initial=0) > 0:
            return speech.utterance, printable(f"attack {name!r} gave no sound for {speech.path}")
        made_by = {"engine": attack.engine, "version": attack.engine_version()}
        row = {"key": "spoof", "attack": name, **made_by, "parameters": json.dumps(parameters, sort_keys=True)}
        files.append((f"{speech.utterance}_{name}", spoofed, row))
    codec = str(generator_for(work.seed, "codec", speech.utterance).choice(work.chain.codecs))
    return speech.utterance, [_write(work, name, sound, samples, codec, row) for name, sound, row in files]


def _write(work: _Work, name: str, waveform: np.ndarray, samples: int, codec: str, row: Row) -> Row:
    finished = work.chain.finish(waveform, samples, codec, generator_for(work.seed, "floor", name))
    buffer = io.BytesIO()
    soundfile.write(buffer, finished, RATE, format="FLAC", subtype="PCM_16")
    path = f"{work.partition}/{name}.flac"
    write_bytes(work.output / path, buffer.getvalue())
    return {
        **{"utterance": name, "path": path, "speaker": work.speech.speaker, "partition": work.partition},
        **{"codec": codec, "source": work.speech.utterance, "checksum": sha256(buffer.getvalue())},
        **row,
    }


def _checksums(speech: Sequence[Speech]) -> dict[str, str]:
    """name -> speaker and checksum of the bytes of each source; what cannot be read will be told when it is decoded."""
    checksums = {}
    for item in speech:
        content = hashlib.sha256()
        try:
            with item.path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    content.update(block)
        except OSError as error:
            content.update(f"unreadable: {error.strerror}".encode())
        checksums[item.utterance] = f"{item.speaker} {content.hexdigest()}"
    return checksums
