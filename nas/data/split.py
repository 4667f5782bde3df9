"""Dividing utterances: the two halves of a search, small balanced subsets, leaving one attack out.

Every function takes a sequence of utterances and returns int64 positions in it, sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from nas.data.readers.protocol import read_protocol
from nas.data.utterance import KEYS, Utterance
from nas.errors import NasError

Halves = tuple[np.ndarray, np.ndarray]
"""(positions that train the weights, positions that train the architecture)."""


def split_halves(
    utterances: Sequence[Utterance], method: Literal["stratified", "speaker", "attack"] = "stratified", seed: int = 0
) -> Halves:
    """Divide the training utterances between network weights and architecture (Raw PC-DARTS, Section 3.1).

    Args:
        method: "stratified": half of each class and of each attack. "speaker": no speaker is in both halves, which are
            as even as whole speakers allow. "attack": no attack is in both halves, bona fide by half.

    Raises:
        NasError: a class has fewer than two utterances, speakers or attacks to divide, or a speaker is unknown.
    """
    generator = np.random.default_rng(seed)
    if method == "stratified":
        sides = _alternate(utterances, range(len(utterances)), generator)
    elif method == "speaker":
        unknown = sum(utterance.speaker == "-" for utterance in utterances)
        if unknown:
            raise NasError(f"cannot split by speaker: {unknown} of {len(utterances)} utterances have no known speaker")
        sides = _whole_groups(utterances, range(len(utterances)), lambda row: row.speaker, generator)
    elif method == "attack":
        bonafide = [i for i, row in enumerate(utterances) if row.key == "bonafide"]
        spoof = [i for i, row in enumerate(utterances) if row.key == "spoof"]
        sides = _alternate(utterances, bonafide, generator)
        sides |= _whole_groups(utterances, spoof, lambda row: row.attack, generator)
    else:
        raise ValueError(f"there is no way {method!r} to split: use 'stratified', 'speaker' or 'attack'")
    halves = tuple(np.array([i for i in sorted(sides) if sides[i] == side], dtype=np.int64) for side in (0, 1))
    for half, name in zip(halves, ("weights", "architecture"), strict=True):
        for key in KEYS:
            if not any(utterances[i].key == key for i in half):
                raise NasError(f"split by {method}: too few utterances, the half for the {name} has no {key}")
    return halves[0], halves[1]


def halves_from_protocols(
    utterances: Sequence[Utterance], weights_protocol: str | Path, architecture_protocol: str | Path
) -> Halves:
    """The halves that two five-column protocols name, as the authors published them. Others take no part.

    Raises:
        NasError: a protocol is malformed, names an utterance that is not there or has another key, both name one, or a
            half lacks a class.
    """
    position = {utterance.utterance: i for i, utterance in enumerate(utterances)}
    halves: list[list[int]] = []
    taken: set[int] = set()
    for path in (weights_protocol, architecture_protocol):
        trials = read_protocol(path)
        for trial in trials:
            place = position.get(trial.utterance)
            where = f"{path}, line {trial.line}: {trial.utterance!r}"
            if place is None:
                raise NasError(f"{where} is no training utterance of the corpus")
            if utterances[place].key != trial.key:
                raise NasError(f"{where} is {trial.key} here, {utterances[place].key} in the corpus")
            if place in taken:
                raise NasError(f"{where} is in {weights_protocol} too")
        halves.append([position[trial.utterance] for trial in trials])
        taken.update(halves[-1])
        for key in KEYS:
            if not any(trial.key == key for trial in trials):
                raise NasError(f"{path}: the half has no {key} utterance; it needs both classes")
    return np.sort(np.array(halves[0], dtype=np.int64)), np.sort(np.array(halves[1], dtype=np.int64))


def subset(
    utterances: Sequence[Utterance],
    count: int,
    seed: int = 0,
    balanced: bool = True,
    attacks: Iterable[str] | None = None,
    speakers: Iterable[str] | None = None,
) -> np.ndarray:
    """`count` utterances drawn by seed, e.g. the 1,000 of a fine-tuning study.

    Args:
        balanced: half bona fide, half spoof (one spoof more if odd); the spoofs spread over the attacks and, within
            each, over the speakers as evenly as the corpus allows; bona fide over the speakers. A larger count with the
            same seed contains the smaller one. Otherwise every utterance is equally likely.
        attacks: only these attacks (bona fide takes part always).
        speakers: only these speakers.

    Raises:
        NasError: an attack or speaker that is not there, or fewer utterances than wanted.
    """
    rows = _only(utterances, attacks, speakers)
    generator = np.random.default_rng(seed)
    if count < 1:
        raise NasError(f"a subset must have at least one utterance, not {count}")
    if not balanced:
        if count > len(rows):
            raise NasError(
                f"a subset of {count} utterances cannot be drawn from {len(rows)}. Set data.subset to at most "
                f"{len(rows)}, or data.subset=all to take every utterance"
            )
        return np.sort(generator.permutation(np.array(rows, dtype=np.int64))[:count])
    chosen: list[int] = []
    for key, wanted in (("bonafide", count // 2), ("spoof", count - count // 2)):
        order = _spread(utterances, [i for i in rows if utterances[i].key == key], generator)
        if wanted and not order:
            raise NasError(f"a balanced subset of {count} needs {wanted} {key} utterances; there are none")
        if wanted > len(order):
            raise NasError(
                f"a balanced subset of {count} needs {wanted} {key} utterances; there are {len(order)}. "
                f"Set data.subset to at most {_largest_balanced(utterances, rows)}, or "
                "data.subset=all to take every utterance"
            )
        chosen += order[:wanted]
    return np.sort(np.array(chosen, dtype=np.int64))


def _largest_balanced(utterances: Sequence[Utterance], rows: Iterable[int]) -> int:
    """The largest count of which half is bona fide and half spoof (one spoof more if odd)."""
    keys = [utterances[i].key for i in rows]
    bonafide, spoof = (keys.count(key) for key in ("bonafide", "spoof"))
    return 2 * bonafide + 1 if spoof > bonafide else 2 * spoof


def leave_one_attack_out(utterances: Sequence[Utterance], attack: str, held_out: str = "eval") -> Halves:
    """(learning, testing): "train" without `attack`, and the bona fide and `attack` utterances of `held_out`.

    Raises:
        NasError: the attack is not in the held-out partition, or learning or testing lacks a class.
    """
    rows = list(enumerate(utterances))
    learning = [i for i, row in rows if row.partition == "train" and row.attack != attack]
    testing = [i for i, row in rows if row.partition == held_out and row.attack in ("-", attack)]
    for chosen, name in (
        (learning, f"the partition 'train' without {attack}"),
        (testing, f"{held_out!r} with {attack}"),
    ):
        for key in KEYS:
            if not any(utterances[i].key == key for i in chosen):
                raise NasError(f"leaving {attack} out: {name} has no {key} utterance")
    return np.array(learning, dtype=np.int64), np.array(testing, dtype=np.int64)


def _alternate(utterances: Sequence[Utterance], rows: Iterable[int], generator: np.random.Generator) -> dict[int, int]:
    """Side 0 or 1 of each row. Dealt out in turn through classes and attacks, so each count differs by at most one."""
    sides: dict[int, int] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for i in rows:
        groups.setdefault((utterances[i].key, utterances[i].attack), []).append(i)
    turn = 0
    for name in sorted(groups):
        for i in generator.permutation(groups[name]):
            sides[int(i)] = turn % 2
            turn += 1
    return sides


def _whole_groups(
    utterances: Sequence[Utterance],
    rows: Iterable[int],
    group_of: Callable[[Utterance], str],
    generator: np.random.Generator,
) -> dict[int, int]:
    """Side of each row where a group stays together: the largest first, each to the side that it leaves most even."""
    members: dict[str, list[int]] = {}
    for i in rows:
        members.setdefault(group_of(utterances[i]), []).append(i)
    totals = np.zeros(2)
    for i in chain.from_iterable(members.values()):
        totals[utterances[i].label] += 1
    names = [str(name) for name in generator.permutation(sorted(members))]
    names.sort(key=lambda name: -len(members[name]))  # stable: equal sizes stay shuffled
    filled = np.zeros((2, 2))  # [side, class]
    sides: dict[int, int] = {}
    for name in names:
        size = np.bincount([utterances[i].label for i in members[name]], minlength=2)
        trials = [filled.copy(), filled.copy()]
        for side in (0, 1):
            trials[side][side] += size
        # Relative to the class, so that the ninefold spoofs do not decide alone.
        uneven = [float(np.abs((trial[0] - trial[1]) / np.maximum(totals, 1)).sum()) for trial in trials]
        side = int(uneven[1] < uneven[0])
        filled = trials[side]
        sides |= dict.fromkeys(members[name], side)
    return sides


def _only(utterances: Sequence[Utterance], attacks: Iterable[str] | None, speakers: Iterable[str] | None) -> list[int]:
    rows = list(range(len(utterances)))
    for what, wanted, of in (
        ("attack", attacks, lambda row: row.attack),
        ("speaker", speakers, lambda row: row.speaker),
    ):
        if wanted is None:
            continue
        names = set(wanted)
        missing = sorted(names - {of(row) for row in utterances})
        if missing:
            raise NasError(f"there is no {what} {missing[0]!r} among the {len(utterances)} utterances")
        rows = [i for i in rows if of(utterances[i]) in names or (what == "attack" and utterances[i].key == "bonafide")]
    return rows


def _spread(utterances: Sequence[Utterance], rows: Iterable[int], generator: np.random.Generator) -> list[int]:
    """All rows, in an order whose every beginning is as even over attacks, then speakers, as the corpus allows."""
    groups: dict[str, dict[str, list[int]]] = {}
    for i in rows:
        groups.setdefault(utterances[i].attack, {}).setdefault(utterances[i].speaker, []).append(i)
    by_attack = []
    for attack in generator.permutation(sorted(groups)):
        speakers = generator.permutation(sorted(groups[str(attack)]))
        by_attack.append(
            _in_turn([[int(i) for i in generator.permutation(groups[str(attack)][str(s)])] for s in speakers])
        )
    return _in_turn(by_attack)


def _in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    """One of each, then the second of each, ..."""
    longest = max(map(len, lists), default=0)
    return [items[k] for k in range(longest) for items in lists if k < len(items)]
