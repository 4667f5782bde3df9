"""The Raw PC-DARTS network of a genotype under its published names (Ge et al. 2021)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from nas.cells.derived import DerivedNetwork
from nas.config import SearchedNetwork
from nas.errors import NasError
from nas.genotype import Genotype
from nas.space import nearest

SCALES = {
    "mel": "mel",
    "lem": "inverse-mel",
    "inverse-mel": "inverse-mel",
    "linear": "linear",
    "conv": "conv0",
    "conv0": "conv0",
}
"""Front-ends by the names of the published code, and by ours."""


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
