"""Score files: our own and those of the field, read into one form in which a higher score means bona fide.

=======================  ================================================================  ====================
form                     a line                                                            labels from
=======================  ================================================================  ====================
ours, ASVspoof 2019      UTTERANCE ATTACK KEY SCORE                                        the file itself
two columns              UTTERANCE SCORE (also how ASVspoof 2021 systems submit)           a protocol
ASVspoof 5               a header line `filename cm-score`, separated by tabs              a protocol
ASVspoof 5, first form   SPEAKER UTTERANCE SCORE KEY                                       the file itself
CSV                      a header line naming utterance and score, key, attack, speaker    the file, or protocol
=======================  ================================================================  ====================

What a reader may not guess is refused: trials twice, trials without a score or a score without a trial, scores that
are not finite, keys that contradict the protocol.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.files import write_text
from nas.metrics.eer import roc_area
from nas.metrics.keys import KEY_LABELS, NO_ATTACK, Key, duplicates, key_label, parse_attack, read_key, utterance_name
from nas.metrics.table import Table, read_table
from nas.metrics.textfile import is_number, named, read_lines, score_value

Higher = Literal["bonafide", "spoof"]
Direction = Literal["stated", "detected", "negated"]

SCORE_COLUMNS = ("score", "cm-score", "cm_score", "cmscore")


class ScoreDirectionWarning(UserWarning):
    """Scores were negated because spoofed trials scored higher than bona fide ones."""


@dataclass(frozen=True)
class Trials:
    """Scored trials, one entry each: utterance, attack ("-" for bona fide), label (1 bona fide, 0 spoof), score [N].

    `speaker` [N] where a protocol or column tells it. `direction` says how it is known that higher is bona fide:
    stated by whoever read the scores, detected from them, or negated because they pointed the other way.

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

    def with_key(self, key: Key, allow_surplus: bool = False) -> Trials:
        """The same scores with attack, label and speaker from a protocol, in the order of the scores.

        Raises:
            NasError: trials of the protocol without a score, scores that the protocol does not know, labels that
                contradict it.
        """
        index = _match(self.utterance.tolist(), key, self.source, allow_surplus)
        known = index >= 0
        kept = self.select(known) if not known.all() else self
        index = index[known]
        if np.any(kept.label != key.label[index]):
            wrong = kept.utterance[kept.label != key.label[index]].tolist()
            raise NasError(f"{self.source}: keys that contradict {key.source}: {named(wrong)}")
        speaker = None if key.speaker is None else key.speaker[index]
        return replace(
            kept, attack=key.attack[index], label=key.label[index], speaker=kept.speaker if speaker is None else speaker
        )


def read_scores(
    path: str | Path,
    protocol: str | Path | Key | None = None,
    *,
    higher: Higher | None = None,
    subset: str | None = None,
) -> Trials:
    """Trials of a score file in any of the forms above; the form is recognised by the file's first line.

    `higher` states which class scores higher; without it the direction is detected, and scores that point the other
    way are negated with a ScoreDirectionWarning. `subset` takes one subset of a protocol that has several (ASVspoof
    2021: progress, eval, hidden).

    Raises:
        NasError: a malformed line (with its number), trials twice, missing or surplus, scores that are not finite,
            labels that are absent or contradict the protocol.
    """
    if higher not in (None, "bonafide", "spoof"):
        raise ValueError(f"higher is 'bonafide', 'spoof' or None, not {higher!r}")
    key = protocol if isinstance(protocol, Key) or protocol is None else read_key(protocol)
    if subset is not None:
        if key is None:
            raise NasError(f"{path}: the subset {subset!r} can only be taken with a protocol that names subsets")
        whole, key = key, key.of_subset(subset)
    lines = read_lines(path, "score file")
    table = read_table(path, lines, {"score": SCORE_COLUMNS})
    trials = _from_table(path, table, key) if table else _from_columns(path, lines, key)
    if key is not None:
        if subset is not None:
            _match(trials.utterance.tolist(), whole, trials.source, missing_allowed=True)
        trials = trials.with_key(key, allow_surplus=subset is not None)
    return _directed(trials, higher)


def write_scores(path: str | Path, trials: Trials) -> Path:
    """Write `UTTERANCE ATTACK KEY SCORE`, a line a trial, higher = bona fide, every digit of the scores.

    Raises:
        NasError: a name that is empty or holds white space (it could not be read back), or a file that cannot be
            written; nothing is left behind.
    """
    names = trials.utterance.tolist()
    attacks = trials.attack.tolist()
    for name in {*names, *attacks}:
        if not name or name.split() != [name]:
            raise NasError(f"a score file cannot hold the name {name!r}: names are not empty and have no white space")
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


def _from_columns(path: str | Path, lines: list[tuple[int, str]], key: Key | None) -> Trials:
    """Files without a header: four columns, or two and a protocol."""
    rows = [line.split() for _, line in lines]
    width = len(rows[0])
    if width not in (2, 4):
        raise NasError(f"{path}, line {lines[0][0]}: {_unknown_form(rows[0], lines[0][1])}")
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise NasError(
                f"{path}, line {number}: {len(row)} columns where the first line has {width}; "
                f"every line must have the same columns"
            )
    numbers = [number for number, _ in lines]
    speaker_first = width == 4 and rows[0][3].lower() in KEY_LABELS and is_number(rows[0][2])
    name_at, score_at, key_at = (1, 2, 3) if speaker_first else (0, width - 1, 2)
    scores = [score_value(row[score_at], path, number) for number, row in zip(numbers, rows, strict=True)]
    names = [utterance_name(row[name_at]) for row in rows]
    _refuse_duplicates(names, str(path))
    if width == 4:
        labels = [key_label(row[key_at], path, number) for number, row in zip(numbers, rows, strict=True)]
        if speaker_first:
            return _trials(names, [NO_ATTACK] * len(names), labels, scores, [row[0] for row in rows], path)
        cells = zip(numbers, rows, labels, strict=True)
        attacks = [parse_attack(row[1], label, path, number) for number, row, label in cells]
        return _trials(names, attacks, labels, scores, None, path)
    return _unlabelled(path, names, scores, key)


def _unknown_form(fields: list[str], line: str) -> str:
    if "," in line or ";" in line:
        return "a CSV score file begins with a header that names the columns utterance and score (key, attack, speaker)"
    if len(fields) == 3 and fields[1] in ("target", "nontarget", "spoof"):
        return "this is an ASV score file (SOURCE KEY SCORE), not one of countermeasure scores"
    if len(fields) == 5 and fields[4] in ("bonafide", "spoof"):
        return "this is a protocol (SPEAKER UTTERANCE - ATTACK KEY), not a score file"
    return (
        f"a score line has four columns (UTTERANCE ATTACK KEY SCORE), or two (UTTERANCE SCORE) and a protocol, "
        f"not {len(fields)}"
    )


def _from_table(path: str | Path, table: Table, key: Key | None) -> Trials:
    """Files with a header."""
    names = [utterance_name(value) for value in table.column("utterance")]
    _refuse_duplicates(names, str(path))
    scores = [score_value(value, path, number) for number, value in table.numbered("score")]
    if "key" not in table:
        return _unlabelled(path, names, scores, key)
    labels = [key_label(value, path, number) for number, value in table.numbered("key")]
    if "attack" in table:
        cells = zip(table.numbered("attack"), labels, strict=True)
        attacks = [parse_attack(value, label, path, number) for (number, value), label in cells]
    else:
        attacks = [NO_ATTACK] * len(names)
    speakers = table.column("speaker") if "speaker" in table else None
    return _trials(names, attacks, labels, scores, speakers, path)


def _unlabelled(path: str | Path, names: list[str], scores: list[float], key: Key | None) -> Trials:
    """Scores without keys, labelled from the protocol (checked for missing and surplus trials by the caller)."""
    if key is None:
        raise NasError(
            f"{path} has utterances and scores but no keys: name the protocol that says which trials are bona fide"
        )
    index = key.index
    labels = [int(key.label[index[name]]) if name in index else 0 for name in names]
    return _trials(names, [NO_ATTACK] * len(names), labels, scores, None, path)


def _trials(
    names: list[str],
    attacks: list[str],
    labels: list[int],
    scores: list[float],
    speakers: list[str] | None,
    path: str | Path,
) -> Trials:
    return Trials(
        np.array(names, dtype=object),
        np.array(attacks, dtype=object),
        np.array(labels, dtype=np.int8),
        np.array(scores, dtype=np.float64),
        None if speakers is None else np.array(speakers, dtype=object),
        str(path),
    )


def _match(
    names: list[str], key: Key, source: str, allow_surplus: bool = False, missing_allowed: bool = False
) -> NDArray[np.int64]:
    """For each scored trial its place in the protocol (-1 where a surplus trial is allowed)."""
    index = key.index
    places = np.array([index.get(name, -1) for name in names], dtype=np.int64)
    faults = []
    scored = set(names)
    missing = [] if missing_allowed else [name for name in key.utterance.tolist() if name not in scored]
    surplus = [] if allow_surplus else [name for name in names if name not in index]
    if missing:
        faults.append(f"trials without a score: {named(missing, len(key.utterance))}")
    if surplus:
        faults.append(f"scores without a trial: {named(surplus)}")
    if faults:
        raise NasError(f"{source} does not match {key.source}: {'; '.join(faults)}")
    return places


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
