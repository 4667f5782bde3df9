"""The Raw PC-DARTS network of a genotype under its published names (Ge et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from nas.cells.derived import DerivedNetwork
from nas.config import SearchedNetwork
from nas.errors import NasError, nearest
from nas.frontends.sinc import SURPLUS_FILTERS
from nas.genotype import Genotype

SCALES = {
    "mel": "mel",
    "lem": "inverse-mel",
    "inverse-mel": "inverse-mel",
    "linear": "linear",
    "conv": "conv0",
    "conv0": "conv0",
}
"""Front-ends by the names of the published code, and by ours."""


_FIRST_LAYER = r"(sinc|stem\.frontend)\.(low_hz_?|conv\.weight)"
"""Its entry, by the published name and by ours."""


def sizes_of_weights(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Sizes of the network that weights are of, as options of `raw_pcdarts`, from the names and shapes of its entries.

    The scale of sinc filters is that of the weights, which hold the cut-off frequencies; their taps are not among the
    weights, and stay the published ones.

    Args:
        state: published names or ours, all of them under a prefix or not.
        source: for the messages.

    Raises:
        NasError: weights of a search, or none of this network.
    """
    require_derived(state, source)
    found = next((match for key in state if (match := re.search(rf"(^|\.){_FIRST_LAYER}$", key))), None)
    cells = {int(number) for key in state for number in re.findall(r"(?:^|\.)cells\.(\d+)\.", key)}
    layers = {key: value for key, value in state.items() if re.search(r"(^|\.)gru\.weight_hh_l\d+$", key)}
    if found is None or not cells or not layers or any(value.dim() != 2 for value in layers.values()):
        raise NasError(f"{source} does not hold the weights of a Raw PC-DARTS network")
    first = state[found.string]
    sizes = {"cells": len(cells), "gru_hidden": next(iter(layers.values())).shape[1], "gru_layers": len(layers)}
    if "low_hz" in found[0]:
        return {**sizes, "channels": len(first) - SURPLUS_FILTERS}
    return {**sizes, "channels": len(first), "kernel": first.shape[-1], "frontend": "conv0"}


def require_derived(state: Mapping[str, Tensor], source: object) -> None:
    """Refuse the weights of a search, which are of a supernet.

    Raises:
        NasError: saying what they lack.
    """
    if not any(re.search(r"(^|\.)cells\.\d+\.(_ops\.\d+\._ops|edges)\.", key) for key in state):
        return
    if any(re.search(r"(^|\.)(architecture\.alpha|alphas?_)", key) for key in state):
        lacks = "take the genotype of the search and the weights of a training of it"
    else:
        lacks = (
            "it holds no alphas (the published code saves none), so its genotype cannot be read from it either: take"
            " the genotype from the log of the search, and the weights of a training of it"
        )
    raise NasError(f"{source} is a checkpoint of a search, with every candidate in it; {lacks}")


def raw_pcdarts(genotype: Genotype | str, space: str = "raw_waveform", **sizes: Any) -> DerivedNetwork:
    """The network of a genotype that may be given as text.

    Args:
        genotype: of the space.
        space: the search space.
        sizes: of `nas.config.SearchedNetwork`; or `sinc_scale` for its `frontend`, by the published names "mel", "lem"
            or "inverse-mel", "linear", "conv" or "conv0".

    Raises:
        NasError: a genotype that does not belong to the space, an unknown option, or no such front-end.
    """
    scale = sizes.pop("sinc_scale", None)
    if scale is not None:
        if scale not in SCALES:
            raise NasError(f"there is no front-end {scale!r}{nearest(scale, list(SCALES))}")
        sizes["frontend"] = SCALES[scale]
    for name in sizes:
        if name not in SearchedNetwork.model_fields:
            valid = [*SearchedNetwork.model_fields, "sinc_scale"]
            raise NasError(f"network 'raw-pcdarts' has no option {name!r}{nearest(name, valid)}")
    try:
        network = SearchedNetwork(**sizes)
    except ValidationError as error:
        first = error.errors()[0]
        raise NasError(f"network 'raw-pcdarts': {first['loc'][0]}: {first['msg']}") from None
    genotype = genotype if isinstance(genotype, Genotype) else Genotype.parse(genotype)
    return DerivedNetwork(genotype, space, network)
