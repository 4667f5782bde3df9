"""What is in a corpus, and what is wrong with it: counts, formats, damage, leaks between partitions, shortcuts."""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nas.data.cues import Cues, measure
from nas.data.decode import LONGEST_SECONDS, SAMPLE_RATE, read_audio, resample
from nas.data.shortcuts import SUSPECT, Shortcuts, find_shortcuts
from nas.data.utterance import KEYS, PARTITIONS, Utterance
from nas.errors import NasError, printable
from nas.progress import progress_bar

_SHOWN = 5
"""Examples of each fault in the text; all are in the report."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A file that was read: its format in words, its cues, and a digest of its samples."""

    format: str
    cues: Cues
    digest: bytes
    silent: bool
    cancelled: bool


@dataclass(frozen=True)
class Report:
    """What `inspect` found.

    Attributes:
        counts: utterances by (partition, key, attack).
        speakers: how many are known, by (partition, key).
        seconds: durations by (partition, key), as arrays.
        formats: files by format, e.g. "FLAC PCM_16, 16000 Hz, 1 channel".
        unreadable: (utterance, reason).
        speakers_across: speakers of more than one partition, with the partitions.
        duplicates: groups of utterances with the same samples.
        shortcuts: None where a class is missing.
        decoded_elsewhere: files that libsndfile refused and miniaudio decoded.
        silent: utterances of digital silence.
        cancelled: utterances whose channels cancel each other in their mean, so that the first one is taken.
    """

    counts: dict[tuple[str, str, str], int]
    speakers: dict[tuple[str, str], int]
    seconds: dict[tuple[str, str], np.ndarray]
    formats: dict[str, int]
    unreadable: tuple[tuple[Utterance, str], ...]
    speakers_across: dict[str, tuple[str, ...]]
    duplicates: tuple[tuple[Utterance, ...], ...]
    shortcuts: Shortcuts | None
    decoded_elsewhere: int
    silent: tuple[Utterance, ...] = ()
    cancelled: tuple[Utterance, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence for each kind of fault; empty for a corpus without any."""
        faults = []
        if self.unreadable:
            faults.append(f"unreadable files: {len(self.unreadable)}")
        if self.silent:
            faults.append(f"files of digital silence: {len(self.silent)}")
        if self.cancelled:
            faults.append(f"files whose channels cancel each other: {len(self.cancelled)}")
        if self.speakers_across:
            faults.append(f"speakers in more than one partition: {len(self.speakers_across)}")
        if self.duplicates:
            faults.append(f"recordings that are there more than once: {len(self.duplicates)}")
        if self.shortcuts and self.shortcuts.found:
            faults.append(f"the classes can be told apart by {', '.join(self.shortcuts.found)}")
        return tuple(faults)

    def text(self) -> str:
        """The report for a terminal, 100 columns wide at most."""
        parts = [self._counts(), self._durations(), self._formats(), self._examples(), self._shortcuts()]
        verdict = "; ".join(self.faults) or "no faults found"
        return "\n\n".join([part for part in parts if part] + [f"Verdict: {verdict}."])

    def _counts(self) -> str:
        lines = [f"{'partition':<10} {'key':<9} {'utterances':>10} {'speakers':>9}  attacks"]
        for partition in PARTITIONS:
            for key in KEYS:
                own = {attack: n for (p, k, attack), n in sorted(self.counts.items()) if (p, k) == (partition, key)}
                if own:
                    attacks = ", ".join(f"{printable(attack)} {n}" for attack, n in own.items() if attack != "-")
                    speakers = self.speakers.get((partition, key), 0)
                    head = f"{partition:<10} {key:<9} {sum(own.values()):>10} {speakers:>9}  "
                    lines += textwrap.wrap(head + attacks, 100, subsequent_indent=" " * len(head)) or [head]
        return "\n".join(lines)

    def _durations(self) -> str:
        lines = [f"{'duration':<20} {'shortest':>9} {'median':>9} {'longest':>9} {'together':>11}"]
        for (partition, key), seconds in self.seconds.items():
            low, middle, high = seconds.min(), float(np.median(seconds)), seconds.max()
            hours = f"{seconds.sum() / 3600:.2f} h"
            lines.append(f"{partition:<10} {key:<9} {low:>7.2f} s {middle:>7.2f} s {high:>7.2f} s {hours:>11}")
        return "\n".join(lines) if len(lines) > 1 else ""

    def _formats(self) -> str:
        lines = [f"{count:>10}  {name}" for name, count in sorted(self.formats.items(), key=lambda item: -item[1])]
        if self.decoded_elsewhere:
            lines.append(f"{self.decoded_elsewhere:>10}  of these were refused by libsndfile and decoded by miniaudio")
        return "\n".join([f"{'files':>10}  format", *lines]) if lines else ""

    def _examples(self) -> str:
        parts = [
            ("Unreadable", [reason for _, reason in self.unreadable]),
            ("Digital silence", [printable(str(row.path)) for row in self.silent]),
            (
                "Channels that cancel each other in their mean (the first one is taken)",
                [printable(str(row.path)) for row in self.cancelled],
            ),
            (
                "Speakers in more than one partition",
                [f"{printable(speaker)}: {', '.join(where)}" for speaker, where in self.speakers_across.items()],
            ),
            (
                "The same audio",
                [
                    ", ".join(f"{printable(row.utterance)} ({row.partition}, {row.key})" for row in group[:_SHOWN])
                    + (", ..." if len(group) > _SHOWN else "")
                    for group in self.duplicates
                ],
            ),
        ]
        texts = []
        for title, items in parts:
            if items:
                more = [f"  ... and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
                texts.append("\n".join([f"{title} ({len(items)}):", *(f"  {item}" for item in items[:_SHOWN]), *more]))
        return "\n\n".join(texts)

    def _shortcuts(self) -> str:
        if self.shortcuts is None:
            return "Shortcuts: not sought, a class is missing."
        lines = [
            "Shortcuts: what tells the classes apart without hearing any synthesis (50 % = nothing)",
            f"{'cue':<17} {'bona fide':>10} {'spoof':>10} {'':<3} {'EER':>7} {'area':>6}  worst attack",
        ]
        for cue in self.shortcuts.cues:
            mark = "  <- shortcut" if cue.found else ""
            worst = f"{printable(cue.worst_attack)} {100 * cue.worst_eer:.1f} %" if cue.worst_attack != "-" else "-"
            lines.append(
                f"{cue.name:<17} {cue.bonafide:>10.2f} {cue.spoof:>10.2f} {cue.unit:<3} {100 * cue.eer:>5.1f} % "
                f"{cue.area:>6.3f}  {worst}{mark}"
            )
        mark = f"  <- shortcut (below {100 * SUSPECT:.0f} %)" if self.shortcuts.together_found else ""
        lines.append(
            f"all together, by logistic regression on unseen speakers: {100 * self.shortcuts.together:.1f} %{mark}"
        )
        return "\n".join(lines)


def inspect(
    utterances: Sequence[Utterance],
    workers: int | None = None,
    progress: bool = True,
    longest_seconds: float = LONGEST_SECONDS,
) -> Report:
    """Read every file once and report.

    Args:
        workers: threads (default: one a core).
        longest_seconds: a longer file counts as unreadable.

    Raises:
        NasError: there are no utterances, or none is readable.
    """
    utterances = tuple(utterances)
    if not utterances:
        raise NasError("there are no utterances to inspect")
    elsewhere: list[Utterance] = []

    def look(utterance: Utterance) -> Measured | str:
        try:
            audio = read_audio(utterance.path, longest_seconds)
        except NasError as error:
            return str(error)
        if audio.decoder != "libsndfile":
            elsewhere.append(utterance)
        waveform = resample(audio.waveform, audio.rate, SAMPLE_RATE)
        digest = hashlib.blake2b(np.rint(waveform * 32768).astype(np.int32).tobytes(), digest_size=16).digest()
        channels = "1 channel" if audio.channels == 1 else f"{audio.channels} channels"
        return Measured(
            f"{audio.codec}, {audio.rate} Hz, {channels}",
            measure(waveform),
            digest,
            not audio.waveform.any(),
            audio.cancelled,
        )

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        looks = pool.map(look, utterances)
        found = list(progress_bar(looks, total=len(utterances), desc="inspect", unit="file", leave=True, show=progress))
    readable = [(row, seen) for row, seen in zip(utterances, found, strict=True) if isinstance(seen, Measured)]
    unreadable = [(row, seen) for row, seen in zip(utterances, found, strict=True) if isinstance(seen, str)]
    if not readable:
        first = "; ".join(reason for _, reason in unreadable[:3]) + ("; ..." if len(unreadable) > 3 else "")
        raise NasError(f"none of the {len(utterances)} audio files is readable: {first}")
    return Report(
        counts=dict(Counter((row.partition, row.key, row.attack) for row in utterances)),
        speakers=_speakers(utterances),
        seconds=_seconds(readable),
        formats=dict(Counter(seen.format for _, seen in readable)),
        unreadable=tuple(unreadable),
        speakers_across=_speakers_across(utterances),
        duplicates=_duplicates(readable),
        shortcuts=_shortcuts(readable),
        decoded_elsewhere=len(elsewhere),
        silent=tuple(row for row, seen in readable if seen.silent),
        cancelled=tuple(row for row, seen in readable if seen.cancelled),
    )


def _speakers(utterances: Iterable[Utterance]) -> dict[tuple[str, str], int]:
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in utterances:
        if row.speaker != "-":
            names[row.partition, row.key].add(row.speaker)
    return {where: len(speakers) for where, speakers in names.items()}


def _speakers_across(utterances: Iterable[Utterance]) -> dict[str, tuple[str, ...]]:
    where: dict[str, set[str]] = defaultdict(set)
    for row in utterances:
        if row.speaker != "-":
            where[row.speaker].add(row.partition)
    return {
        speaker: tuple(partition for partition in PARTITIONS if partition in found)
        for speaker, found in sorted(where.items())
        if len(found) > 1
    }


def _seconds(readable: Iterable[tuple[Utterance, Measured]]) -> dict[tuple[str, str], np.ndarray]:
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, seen in readable:
        durations[row.partition, row.key].append(seen.cues.duration)
    return {(p, k): np.array(durations[p, k]) for p in PARTITIONS for k in KEYS if (p, k) in durations}


def _duplicates(readable: Iterable[tuple[Utterance, Measured]]) -> tuple[tuple[Utterance, ...], ...]:
    groups: dict[bytes, list[Utterance]] = defaultdict(list)
    for row, seen in readable:
        groups[seen.digest].append(row)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _shortcuts(readable: Sequence[tuple[Utterance, Measured]]) -> Shortcuts | None:
    if {row.key for row, _ in readable} != set(KEYS):
        return None
    rows = [row for row, _ in readable]
    return find_shortcuts(rows, [seen.cues for _, seen in readable], [seen.format for _, seen in readable])
