"""Score files: our own and those of the field, read into one form in which a higher score means bona fide.

`nas.columns.SCORES` lists the forms: UTTERANCE ATTACK KEY SCORE (ours), UTTERANCE SCORE with a protocol, and more; a
file may also name its columns in a header. Keys come from the file or from a protocol. A column of predictions is never
read as the key, and neither are the numbers 0 and 1.

What a reader may not guess is refused: trials twice, trials without a score, scores that are not finite, keys that
contradict the protocol. What is left out or pooled is told in `Trials.remarks`.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.columns import SCORE_FILE, ColumnFile, read_columns
from nas.commands import command
from nas.errors import NasError
from nas.files import require_line_safe, write_text
from nas.labels import NO_ATTACK, attack_of, is_key_number, key_of, read_attack, utterance_name, without_folders
from nas.labels import read_key as read_key_word
from nas.metrics.eer import roc_area
from nas.metrics.keys import Key, duplicates, read_key
from nas.words import named, score_value

Higher = Literal["bonafide", "spoof"]
Direction = Literal["stated", "detected", "negated"]


class ScoreDirectionWarning(UserWarning):
    """Scores were negated because spoofed trials scored higher than bona fide ones."""


@dataclass(frozen=True)
class Trials:
    """Scored trials, one entry each: utterance, attack ("-" for bona fide), label (1 bona fide, 0 spoof), score [N].

    `speaker` [N] where a protocol or column tells it. `direction` says how it is known that higher is bona fide:
    stated by whoever read the scores, detected from them, or negated because they pointed the other way. `remarks` is
    what was left out, pooled or guessed when they were read.

    Raises:
        NasError: a trial twice, or scores that are not finite.
        ValueError: arrays of different lengths.
    """

    utterance: NDArray[Any]
    attack: NDArray[Any]
    label: NDArray[np.int8]
    score: NDArray[np.float64]
    speaker: NDArray[Any] | None = None
    source: str = "scores"
    direction: Direction = "stated"
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("utterance", object), ("attack", object), ("label", np.int8), ("score", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if self.speaker is not None:
            object.__setattr__(self, "speaker", np.asarray(self.speaker, dtype=object))
        lengths = {len(column) for column in (self.utterance, self.attack, self.label, self.score)}
        if len(lengths) > 1 or (self.speaker is not None and len(self.speaker) != len(self.utterance)):
            raise ValueError("the columns of trials must have the same length")
        if not np.isin(self.label, (0, 1)).all():
            raise ValueError("labels are 1 (bona fide) or 0 (spoof)")
        _refuse_duplicates(self.utterance.tolist(), self.source)
        broken = self.utterance[~np.isfinite(self.score)]
        if broken.size:
            raise NasError(f"{self.source}: scores that are not finite numbers: {named(broken.tolist())}")

    def __len__(self) -> int:
        return len(self.utterance)

    @property
    def bonafide(self) -> NDArray[np.float64]:
        """Scores of the bona fide trials."""
        return self.score[self.label == 1]

    @property
    def spoof(self) -> NDArray[np.float64]:
        """Scores of the spoofed trials."""
        return self.score[self.label == 0]

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, sorted."""
        return tuple(sorted(set(self.attack[self.label == 0].tolist())))

    def of_attack(self, attack: str) -> NDArray[np.float64]:
        """Scores of the trials of one attack."""
        return self.score[(self.label == 0) & (self.attack == attack)]

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Trials:
        """The trials where `keep` [N] is true, or those at the places `keep`, in that order."""
        speaker = None if self.speaker is None else self.speaker[keep]
        return replace(
            self,
            utterance=self.utterance[keep],
            attack=self.attack[keep],
            label=self.label[keep],
            score=self.score[keep],
            speaker=speaker,
        )

    def with_key(self, key: Key) -> Trials:
        """The same scores, in their order, with attack, label and speaker from a protocol of the same trials.

        Raises:
            NasError: trials of the protocol without a score, scores that the protocol does not know, labels that
                contradict it.
        """
        places, _ = _places(self.utterance.tolist(), key)
        missing = key.utterance[~_scored(places, key)].tolist()
        surplus = self.utterance[places < 0].tolist()
        _refuse_mismatch(self.source, key, missing, surplus)
        _refuse_contradictions(self.utterance, self.label, key.label[places], self.source, key)
        return replace(
            self,
            attack=key.attack[places],
            label=key.label[places],
            speaker=self.speaker if key.speaker is None else key.speaker[places],
        )


def read_scores(
    path: str | Path,
    protocol: str | Path | Key | None = None,
    *,
    higher: Higher | None = None,
    subset: str | None = None,
) -> Trials:
    """Trials of a score file in any of the forms above; the form is recognised by the file's first lines.

    `higher` states which class scores higher; without it the direction is detected, and scores that point the other
    way are negated with a ScoreDirectionWarning. `subset` takes one subset of a protocol that has several (ASVspoof
    2021: progress, eval, hidden_track), or "all"; by default the only one that has scores, else eval.

    Raises:
        NasError: a malformed line (with its number), trials twice or missing, scores that are not finite, labels that
            are absent or contradict the protocol.
    """
    if higher not in (None, "bonafide", "spoof"):
        raise ValueError(f"higher is 'bonafide', 'spoof' or None, not {higher!r}")
    key = protocol if isinstance(protocol, Key) or protocol is None else read_key(protocol)
    if subset is not None and key is None:
        raise NasError(f"{path}: the subset {subset!r} can only be taken with a protocol that names subsets")
    table = read_columns(path, SCORE_FILE, key.index if key else ())
    lines = _read_lines(path, table, key is not None)
    _refuse_duplicates(lines.names, str(path))
    trials = _alone(path, lines) if key is None else _joined(path, lines, key, subset)
    return _directed(trials, higher)


@dataclass(frozen=True)
class _Lines:
    """Columns of a score file; the label is -1 where the file does not tell it."""

    names: list[str]
    score: NDArray[np.float64]
    label: NDArray[np.int8]
    attack: list[str] | None
    speaker: list[str] | None
    remarks: tuple[str, ...]


def _read_lines(path: str | Path, table: ColumnFile, has_protocol: bool) -> _Lines:
    name_at, score_at, key_at, attack_at, speaker_at = (
        table.form.place(name) for name in ("UTTERANCE", "SCORE", "KEY", "ATTACK", "SPEAKER")
    )
    if name_at is None or score_at is None:
        raise ValueError("every score file names utterances and scores")
    if key_at is None and not has_protocol:
        more = " (a prediction is not the key)" if "PREDICTION" in table.form.columns else ""
        raise NasError(
            f"{path} has utterances and scores but no keys{more}: name the protocol that says which trials are "
            "bona fide (--protocol)"
        )
    names: list[str] = []
    scores, labels = array("d"), array("b")
    attacks: list[str] = []
    speakers: list[str] = []
    words: dict[str, str] = {}  # One object for each attack and speaker, however many trials have it.
    numbers = 0
    for number, cells in table.rows:
        names.append(utterance_name(cells[name_at]))
        scores.append(score_value(cells[score_at], path, number))
        if key_at is not None:
            word = cells[key_at]
            key = key_of(word)
            if key is None and not (has_protocol and is_key_number(word)):
                read_key_word(word, f"{path}, line {number}")
            numbers += key is None
            labels.append(-1 if key is None else key == "bonafide")
            if attack_at is not None and not has_protocol:
                word = cells[attack_at]
                attack = attack_of(word, str(key)) or read_attack(word, str(key), f"{path}, line {number}")
                attacks.append(words.setdefault(attack, attack))
        if speaker_at is not None:
            speakers.append(words.setdefault(cells[speaker_at], cells[speaker_at]))
    remarks = list(table.remarks)
    if numbers:
        remarks.append(f"the numbers in the key column of {path} were not read; the keys are those of the protocol")
    if "PREDICTION" in table.form.columns:
        remarks.append(f"{path} was read as {table.form}; the PREDICTION is not the key, which the protocol tells")
    return _Lines(
        names,
        np.frombuffer(scores, dtype=np.float64),
        np.frombuffer(labels, dtype=np.int8) if labels else np.full(len(names), -1, dtype=np.int8),
        attacks or None,
        speakers or None,
        tuple(remarks),
    )


def _alone(path: str | Path, lines: _Lines) -> Trials:
    """Trials of a file that tells their labels."""
    attack = np.full(len(lines.names), NO_ATTACK, dtype=object)
    if lines.attack is not None:
        attack[:] = lines.attack
    return Trials(
        np.array(lines.names, dtype=object),
        attack,
        lines.label,
        lines.score,
        None if lines.speaker is None else np.array(lines.speaker, dtype=object),
        str(path),
        remarks=lines.remarks,
    )


def _joined(path: str | Path, lines: _Lines, key: Key, subset: str | None) -> Trials:
    """Trials with the labels, attacks and speakers of a protocol, or of one subset of it."""
    places, remarks = _places(lines.names, key)
    scored = _scored(places, key)
    wanted = np.ones(len(key.utterance), dtype=np.bool_)
    subset = key.default_subset(scored) if subset is None else subset
    if subset is not None:
        wanted, about_subset = key.in_subset(subset)
        remarks = remarks + about_subset
    surplus = [lines.names[at] for at in np.flatnonzero(places < 0)]
    missing = key.utterance[wanted & ~scored].tolist()
    if missing:
        _refuse_mismatch(str(path), key, missing, surplus, "" if wanted.all() else f" (subset {subset})")
    if surplus:
        remarks += (f"scores without a trial in {key.source} were left out: {named(surplus)}",)
    kept = np.flatnonzero((places >= 0) & wanted[places])
    places = places[kept]
    names, label = key.utterance[places], lines.label[kept]
    told = label >= 0
    _refuse_contradictions(names[told], label[told], key.label[places][told], str(path), key)
    speaker = None if lines.speaker is None else np.array(lines.speaker, dtype=object)[kept]
    return Trials(
        names,
        key.attack[places],
        key.label[places],
        lines.score[kept],
        speaker if key.speaker is None else key.speaker[places],
        str(path),
        remarks=key.remarks + lines.remarks + remarks,
    )


def write_scores(path: str | Path, trials: Trials) -> Path:
    """Write `UTTERANCE ATTACK KEY SCORE`, a line a trial, higher = bona fide, every digit of the scores.

    Raises:
        NasError: a name that is empty or holds white space (it could not be read back), or a file that cannot be
            written; nothing is left behind.
    """
    names = trials.utterance.tolist()
    attacks = trials.attack.tolist()
    for name in names:
        require_line_safe(name, "an utterance")
    for name in set(attacks):
        require_line_safe(name, "an attack")
    keys = np.where(trials.label == 1, "bonafide", "spoof").tolist()
    rows = zip(names, attacks, keys, trials.score.tolist(), strict=True)
    return write_text(path, "".join(f"{name} {attack} {key} {score!r}\n" for name, attack, key, score in rows))


def write_protocol(path: str | Path, trials: Trials) -> Path | None:
    """Write `SPEAKER UTTERANCE - ATTACK KEY` as ASVspoof does, a line a trial.

    Returns:
        The path, or None where a speaker is unknown: then nothing is written, and what earlier scores left is removed.
    """
    speakers = [] if trials.speaker is None else [str(speaker) for speaker in trials.speaker]
    if not speakers or any(speaker.split() != [speaker] for speaker in speakers):
        Path(path).unlink(missing_ok=True)
        return None
    keys = np.where(trials.label == 1, "bonafide", "spoof").tolist()
    rows = zip(speakers, trials.utterance.tolist(), trials.attack.tolist(), keys, strict=True)
    return write_text(path, "".join(f"{speaker} {name} - {attack} {key}\n" for speaker, name, attack, key in rows))


def scores_of_run(run: str | Path, partition: str) -> Path:
    """The score file of a partition in a run directory.

    Raises:
        NasError: the run has not been scored on it; the command that does so is named.
    """
    path = Path(run) / "scores" / f"{partition}.txt"
    if not path.exists():
        if not (Path(run) / "recipe.yaml").exists():
            raise NasError(f"{run} is neither a run directory nor a score file")
        chosen = [] if partition == "eval" else ["--partition", partition]
        raise NasError(
            f"{run} has not been scored on {partition}; do so with: {command('evaluate', Path(run), *chosen)}"
        )
    return path


def read_own_scores(path: str | Path, protocol: str | Path | None = None) -> Trials:
    """A score file of a run: higher is bona fide, and the speakers stand beside it where they are known."""
    beside = Path(path).with_suffix(".protocol.txt")
    return read_scores(path, protocol or (beside if beside.exists() else None), higher="bonafide")


def same_trials(systems: Sequence[Trials]) -> list[Trials]:
    """Several systems' trials in the order of the first.

    Raises:
        NasError: systems that were not scored on the same trials, or disagree about a label.
    """
    first = systems[0]
    key = Key(first.utterance, first.attack, first.label, first.speaker, None, first.source)
    position = {name: at for at, name in enumerate(first.utterance.tolist())}
    ordered = [first]
    for other in systems[1:]:
        matched = other.with_key(key)
        order = np.argsort([position[name] for name in matched.utterance.tolist()])
        ordered.append(matched.select(order))
    return ordered


def _places(names: list[str], key: Key) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """For each scored trial its place in the protocol, -1 where it has none; and how the names were read.

    Where names do not match as they are, they are compared without the folder that all of them share, and then without
    any folder, as long as none becomes ambiguous.
    """
    index = key.index
    places = np.fromiter((index.get(name, -1) for name in names), dtype=np.int64, count=len(names))
    theirs = key.utterance.tolist()
    foldered = any("/" in name or "\\" in name for name in chain(names, theirs))
    if not foldered or np.count_nonzero(places >= 0) == len(theirs):
        return places, ()
    for ours, wanted in zip(without_folders(names), without_folders(theirs), strict=True):
        index = {name: at for at, name in enumerate(wanted)}
        if len(index) < len(wanted) or len(set(ours)) < len(ours):
            continue
        bare = np.fromiter((index.get(name, -1) for name in ours), dtype=np.int64, count=len(ours))
        if np.count_nonzero(bare >= 0) > np.count_nonzero(places >= 0):
            at = int(np.flatnonzero(bare >= 0)[0])
            return bare, (f"names were compared without folders: {names[at]} is {theirs[bare[at]]}",)
    return places, ()


def _scored(places: NDArray[np.int64], key: Key) -> NDArray[np.bool_]:
    """Which trials of a protocol [N] have a score."""
    scored = np.zeros(len(key.utterance), dtype=np.bool_)
    scored[places[places >= 0]] = True
    return scored


def _refuse_mismatch(source: str, key: Key, missing: list[str], surplus: list[str], where: str = "") -> None:
    faults = []
    if missing:
        faults.append(f"trials without a score{where}: {named(missing, len(key.utterance))}")
    if surplus:
        faults.append(f"scores without a trial: {named(surplus)}")
    if faults:
        raise NasError(f"{source} does not match {key.source}: {'; '.join(faults)}")


def _refuse_contradictions(
    names: NDArray[Any], label: NDArray[np.int8], expected: NDArray[np.int8], source: str, key: Key
) -> None:
    if np.any(label != expected):
        raise NasError(f"{source}: keys that contradict {key.source}: {named(names[label != expected].tolist())}")


def _refuse_duplicates(names: list[str], source: str) -> None:
    repeated = duplicates(names)
    if repeated:
        raise NasError(f"{source}: trials scored more than once: {named(repeated)}")


def _directed(trials: Trials, higher: Higher | None) -> Trials:
    """The trials with higher = bona fide."""
    if higher == "bonafide":
        return trials
    if higher == "spoof":
        return replace(trials, score=-trials.score)
    if trials.bonafide.size == 0 or trials.spoof.size == 0:
        return replace(trials, direction="detected")
    area = roc_area(trials.bonafide, trials.spoof)
    if area >= 0.5:
        return replace(trials, direction="detected")
    warnings.warn(
        f"{trials.source}: spoofed trials score higher than bona fide ones in {100 * (1 - area):.1f} % of pairs, so "
        "the scores were negated; state the direction (higher = bonafide or spoof) to settle it",
        ScoreDirectionWarning,
        stacklevel=3,
    )
    return replace(trials, score=-trials.score, direction="negated")
