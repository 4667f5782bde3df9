"""Published weights: the state_dict that the authors released, loaded into the network of this toolkit.

A published name becomes ours by a short table of substitutions; every weight of the file is used, and every weight of
the network comes from the file.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from nas.errors import NasError, nearest
from nas.network import Network
from nas.networks import registry
from nas.networks.raw_pcdarts import sizes_of_weights
from nas.tensor_files import read_pytorch, read_safetensors

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """How the released file of a network reads.

    Attributes:
        renames: (pattern, replacement) pairs of `re.sub`, applied one after another to every published name.
        unused: patterns of entries that the published forward pass never reads.
    """

    renames: tuple[tuple[str, str], ...]
    unused: tuple[str, ...] = ()

    def rename(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


_RESIDUAL_BLOCK = (
    (r"\.conv_downsample\.", ".shortcut."),
    (r"\.conv(\d)\.", r".conv_\1."),
    (r"\.bn(\d)\.", r".norm_\1."),
)

_AASIST = Published(
    renames=(
        (r"^encoder\.(\d)\.0\.", r"encoder.\1."),
        *_RESIDUAL_BLOCK,
        (r"^first_bn\.", "first_norm."),
        (r"^pos_S$", "position"),
        (r"^GAT_layer_S\.", "spectral."),
        (r"^GAT_layer_T\.", "temporal."),
        (r"^(pool_h?)S(\d?)\.proj\.", r"\1spectral\2.gate."),
        (r"^(pool_h?)T(\d?)\.proj\.", r"\1temporal\2.gate."),
        (r"^pool_h(\w+)1\.", r"branches.0.pool_\1."),
        (r"^pool_h(\w+)2\.", r"branches.1.pool_\1."),
        (r"^master1$", "branches.0.stack"),
        (r"^master2$", "branches.1.stack"),
        (r"^HtrgGAT_layer_ST1", "branches.0."),
        (r"^HtrgGAT_layer_ST2", "branches.1."),
        (r"^(branches\.\d\.)1\.", r"\1first."),
        (r"^(branches\.\d\.)2\.", r"\1second."),
        (r"\.proj_type1\.", ".project_temporal."),
        (r"\.proj_type2\.", ".project_spectral."),
        (r"\.att_weight11$", ".weight_temporal"),
        (r"\.att_weight22$", ".weight_spectral"),
        (r"\.att_weight12$", ".weight_mixed"),
        (r"\.att_weightM$", ".weight_stack"),
        (r"\.att_weight$", ".weight"),
        (r"\.att_proj(M?)\.", r".pair\1."),
        (r"\.proj_with_att(M?)\.", r".attended\1."),
        (r"\.proj_without_att(M?)\.", r".own\1."),
        (r"(pair|attended|own)M\.", r"\1_stack."),
        (r"\.bn\.", ".norm."),
        (r"^out_layer\.", "output.linear."),
    )
)

_RAWNET2 = Published(
    renames=(
        (r"^block(\d)\.0\.", r"encoder.\1."),
        (r"^fc_attention(\d)\.0\.", r"encoder.\1.scale."),
        *_RESIDUAL_BLOCK,
        (r"^first_bn\.", "first_norm."),
        (r"^bn_before_gru\.", "norm."),
        (r"^fc1_gru\.", "fc."),
        (r"^fc2_gru\.", "output.linear."),
    )
)

_LCNN = Published(
    renames=(
        (r"^m_transform\.0\.", "encoder."),
        (r"^m_before_pooling\.0\.(\d)\.l_blstm\.(\w+)_l0(_reverse)?$", r"pooling.lstm.\2_l\1\3"),
        (r"^m_pooling\.0\.mm_weights$", "pooling.weight"),
        (r"^m_output_act\.0\.1\.", "pooling.fc_1."),
        (r"^m_output_act\.0\.3\.", "pooling.fc_2."),
        (r"^m_output_act\.0\.", "pooling.fc."),
        (r"^m_frontend\.0\.lfcc_fb$", "frontend.filters"),
        (r"^m_frontend\.0\.l_dct\.weight$", "frontend.dct"),
        (r"^m_angle\.0\.", "output."),
    ),
    # The project that the models were written in keeps means and deviations of its data, which these never apply.
    unused=(r"(input|output)_(mean|std)",),
)

_RAW_PCDARTS = Published(
    renames=(
        (r"^sinc\.conv\.", "stem.frontend.conv."),
        (r"^sinc\.(low_hz|band_hz)_$", r"stem.frontend.\1"),
        (r"^bn\.", "stem.norm."),
        (r"^stem\.0\.", "stem.conv."),
        (r"^stem\.1\.", "stem.conv_norm."),
        (r"^gru\.", "head.gru."),
        (r"^fc_gru\.", "head.fc."),
        (r"^l_layer\.", "output."),
        (r"\.preprocess0\.(op\.1|conv)", ".preprocess.first.conv"),
        (r"\.preprocess0\.(op\.3|bn)", ".preprocess.first.norm"),
        (r"\.preprocess1\.op\.", ".preprocess.second."),
        (r"\._ops\.(\d+)\.op\.", r".operations.\1."),
    )
)

PUBLISHED: dict[str, Published] = {
    "raw-pcdarts": _RAW_PCDARTS,
    "aasist": _AASIST,
    "aasist-l": _AASIST,
    "rawnet2-2019": _RAWNET2,
    "rawnet2-2021": _RAWNET2,
    "lcnn-lfcc-lstmsum": _LCNN,
    "lcnn-lfcc-attention": _LCNN,
    "lcnn-lfcc-fixed": _LCNN,
}
"""Networks with released weights, by their name in the registry."""


_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "ema")
"""Under what training scripts save a state_dict; the first is taken where several fit alike."""

_DEEPEST = 4
"""Mappings within mappings in which a state_dict is looked for."""

_BESIDE = r"(n_averaged|\w*loss\w*|\w*criterion\w*|objective|metrics?|\w+_metric)(\..*)?"
"""Entries that belong to the training and not to the network: losses, metrics, the count of averaged weights."""

_OTHER_FILES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file: fetch it with `git lfs pull`"),
    (b"<!doctype", "is a web page, not the file: download it anew"),
    (b"<html", "is a web page, not the file: download it anew"),
)


def read_state(path: str | Path, fits: Callable[[Mapping[str, Tensor]], int] = len) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch file, read without running anything that it contains.

    A PyTorch file may hold the state_dict itself, or mappings with it somewhere below ({"model": ..., "epoch": 3}).

    Args:
        fits: how many entries of a mapping are wanted; the mapping with the most is taken.

    Raises:
        NasError: there is no such file, or it is not one of these.
    """
    path = Path(path)
    # os.path takes a path that is too long for the file system for one that is not there.
    if not os.path.isfile(path):
        raise NasError(f"there is no file of weights {path}")
    with open(path, "rb") as stream:
        start = stream.read(64).lstrip().lower()
    for sign, what in _OTHER_FILES:
        if start.startswith(sign):
            raise NasError(f"{path} {what}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    content = read_pytorch(path)
    found = {trail: count for trail, state in _states(content) if (count := fits(state))}
    if not found:
        keys = f"; its keys are {listed([str(key) for key in content])}" if isinstance(content, Mapping) else ""
        raise NasError(f"{path} does not hold a state_dict (names and tensors){keys}")
    best = [trail for trail, count in found.items() if count == max(found.values())]
    best.sort(key=lambda trail: [_WRAPPERS.index(name) if name in _WRAPPERS else len(_WRAPPERS) for name in trail])
    if len(best) > 1:
        names = [".".join(trail) for trail in best]
        _LOG.warning("%s holds several sets of weights, %s; %s were taken", path, listed(names), names[0])
    return next(state for trail, state in _states(content) if trail == best[0])


def _states(content: object, trail: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The tensors of each mapping by their names, and the keys that lead there."""
    if not isinstance(content, Mapping):
        return
    state = {key: value for key, value in content.items() if isinstance(key, str) and _is_plain(value)}
    if state:
        yield trail, state
    if len(trail) < _DEEPEST:
        for key, value in content.items():
            yield from _states(value, (*trail, str(key)))


def _is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor of values that lie in memory: a file can hold sparse, quantised and empty ones too."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and not value.is_meta


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def load_published(name: str, weights: str | Path | Mapping[str, Tensor], **options: Any) -> Network:
    """The network of that name with published weights, in evaluation mode.

    Args:
        name: "aasist", "aasist-l", "rawnet2-2019", ...: a key of `PUBLISHED`.
        weights: the released file, or its state_dict.
        options: of the network, where the file is of other widths than the published ones; "raw-pcdarts" takes its
            sizes from the shapes, and needs the `genotype` alone.

    Raises:
        NasError: unknown name, unreadable file, an entry that is missing, left over, of another shape or not finite.
    """
    if name not in PUBLISHED:
        raise NasError(f"no published weights are known for {name!r}{nearest(name, list(PUBLISHED))}")
    source = "the state_dict" if isinstance(weights, Mapping) else str(weights)
    if name == "raw-pcdarts":
        if not isinstance(weights, Mapping):
            weights = read_state(weights, lambda state: sum("cells." in key for key in state))
        options = sizes_of_weights(weights, source) | options
    network = registry.create(name, **options)
    ours = network.state_dict()
    if not isinstance(weights, Mapping):
        weights = read_state(weights, lambda state: _fit(state, name, ours)[1])
    entries, surplus = fit_entries(weights, name, ours, source)
    for new, (key, value) in entries.items():
        require_entry(source, key, value, name, ours[new], "weights of other widths need the widths as options")
    if surplus:
        raise NasError(f"{source} has entries that {name} does not have: {listed(list(surplus))}")
    if missing := [key for key in ours if key not in entries]:
        raise NasError(f"{source} lacks entries that {name} needs: {listed(missing)}")
    network.load_state_dict({new: value for new, (_, value) in entries.items()})
    return network.eval()


Entries = dict[str, tuple[str, Tensor]]
"""By the name here: the name in the file, and the tensor."""


def fit_entries(
    state: Mapping[str, Tensor], name: str, ours: Container[str], source: object
) -> tuple[Entries, dict[str, Tensor]]:
    """Entries of a file by the names of the network `name`, whose own are `ours`.

    Wrappers put a prefix before every name (DataParallel "module.", Lightning "model.", torch.compile "_orig_mod."): it
    is told by the names that fit without it. What stands beside it, and what belongs to a loss, is left out with a
    remark.

    Returns:
        The entries that fit, and those that are left over, by the names that they would have here.

    Raises:
        NasError: several prefixes fit alike.
    """
    prefixes, _, rename = _fit(state, name, ours)
    if len(prefixes) > 1:
        raise NasError(f"{source} holds several networks that fit {name}, under {listed(prefixes)}; keep one of them")
    published = PUBLISHED.get(name)
    entries: Entries = {}
    surplus, beside = {}, []
    for full, value in state.items():
        key = full.removeprefix(prefixes[0])
        new = rename(key)
        if new in ours and new not in entries and full.startswith(prefixes[0]):
            entries[new] = (key, value)
        elif not full.startswith(prefixes[0]) or re.fullmatch(_BESIDE, key):
            beside.append(full)
        elif not (published and any(re.fullmatch(pattern, key) for pattern in published.unused)):
            surplus[new if new not in entries else key] = value
    if beside:
        _LOG.warning("%s: entries that are not of %s were left out: %s", source, name, listed(beside))
    return entries, surplus


def _fit(state: Mapping[str, Tensor], name: str, ours: Container[str]) -> tuple[list[str], int, Callable[[str], str]]:
    """The prefixes without which most names fit, how many these are, and how names are turned into ours."""
    published = PUBLISHED.get(name)
    best: tuple[list[str], int, Callable[[str], str]] = ([""], 0, str)
    for rename in (str, *((published.rename,) if published else ())):
        counts: Counter[str] = Counter()
        for key in state:
            parts = key.split(".")
            for depth in range(min(len(parts), _DEEPEST)):
                prefix = "".join(f"{part}." for part in parts[:depth])
                counts[prefix] += rename(key[len(prefix) :]) in ours
        most = max(counts.values(), default=0)
        if most > best[1]:
            best = ([prefix for prefix, count in counts.items() if count == most], most, rename)
    return best


def require_entry(source: object, key: str, value: Tensor, name: str, ours: Tensor, advice: str) -> None:
    """Refuse an entry of weights that the network `name`, whose own is `ours`, cannot take.

    Raises:
        NasError: another shape, with the advice; values of another kind, or not finite.
    """
    if value.shape != ours.shape:
        raise NasError(f"{source}: {key} has shape {list(value.shape)}, {name} needs {list(ours.shape)}; {advice}")
    if value.is_floating_point() != ours.is_floating_point() or value.is_complex():
        kinds = f"{value.dtype}, {name} needs {ours.dtype}".replace("torch.", "")
        raise NasError(f"{source}: {key} holds values of type {kinds}")
    if value.is_floating_point() and not value.isfinite().all():
        raise NasError(f"{source}: {key} holds values that are not finite")
