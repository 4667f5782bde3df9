"""Published weights: the state_dict that the authors released, loaded into the network of this toolkit.

A published name becomes ours by a short table of substitutions; every weight of the file is used, and every weight of
the network comes from the file.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas.errors import NasError
from nas.network import Network
from nas.networks import registry
from nas.space import nearest


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


# What PyTorch's reader meets in files that are something else.
_DAMAGED = (SafetensorError, RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch file, read without running anything that it contains.

    A PyTorch file may hold the state_dict itself or a dictionary with it under "state_dict" or "model_state_dict".

    Raises:
        NasError: there is no such file, or it is not one of these.
    """
    path = Path(path)
    if not path.is_file():
        raise NasError(f"there is no file of weights {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NasError(f"{path} holds more than tensors and is not loaded: it should be a state_dict") from error
    except _DAMAGED as error:
        raise NasError(f"{path} is not a file of weights (.safetensors, or a state_dict saved by PyTorch)") from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise NasError(f"{path} does not hold a state_dict (names and tensors)")
    return dict(content)


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def load_published(name: str, weights: str | Path | Mapping[str, Tensor], **options: Any) -> Network:
    """The network of that name with published weights, in evaluation mode.

    Args:
        name: "aasist", "aasist-l", "rawnet2-2019", ...: a key of `PUBLISHED`.
        weights: the released file, or its state_dict.
        options: of the network, where the file is of other widths than the published ones.

    Raises:
        NasError: unknown name, unreadable file, an entry that is missing, left over, of another shape or not finite.
    """
    if name not in PUBLISHED:
        raise NasError(f"no published weights are known for {name!r}{nearest(name, list(PUBLISHED))}")
    published = PUBLISHED[name]
    source = "the state_dict" if isinstance(weights, Mapping) else str(weights)
    state = dict(weights) if isinstance(weights, Mapping) else read_state(weights)
    network = registry.create(name, **options)
    ours = network.state_dict()
    renamed: dict[str, Tensor] = {}
    surplus = []
    for key, value in state.items():
        key = key.removeprefix("module.")
        if any(re.fullmatch(pattern, key) for pattern in published.unused):
            continue
        new = published.rename(key)
        if new not in ours or new in renamed:
            surplus.append(key)
            continue
        require_entry(source, key, value, name, ours[new], "weights of other widths need the widths as options")
        renamed[new] = value
    if surplus:
        raise NasError(f"{source} has entries that {name} does not have: {listed(surplus)}")
    if missing := [key for key in ours if key not in renamed]:
        raise NasError(f"{source} lacks entries that {name} needs: {listed(missing)}")
    network.load_state_dict(renamed)
    return network.eval()


def require_entry(source: object, key: str, value: Tensor, name: str, ours: Tensor, advice: str) -> None:
    """Refuse an entry of weights that the network `name`, whose own is `ours`, cannot take.

    Raises:
        NasError: another shape, with the advice; or values that are not finite.
    """
    if value.shape != ours.shape:
        raise NasError(f"{source}: {key} has shape {list(value.shape)}, {name} needs {list(ours.shape)}; {advice}")
    if value.is_floating_point() and not value.isfinite().all():
        raise NasError(f"{source}: {key} holds values that are not finite")
