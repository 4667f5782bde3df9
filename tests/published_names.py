"""Names that the published Raw PC-DARTS code gives to the supernet's parameters, for the golden tests."""

from __future__ import annotations

import re

from torch import Tensor

from nas.networks.published import PUBLISHED

_CANDIDATE = (r"\._ops\.(\d+)\._ops\.(\d+)\.(op\.)?", r".edges.\1.candidates.\2.")


def supernet_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state_dict from the golden file's `state.*`, `alphas_*` and `betas_*`."""
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("state."):
            name = re.sub(*_CANDIDATE, name.removeprefix("state."))
            state[PUBLISHED["raw-pcdarts"].rename(name)] = tensor
    for ours, published in (("normal", "normal"), ("expand", "reduce")):
        state[f"architecture.alpha_{ours}"] = tensors[f"alphas_{published}"]
        state[f"architecture.beta_{ours}"] = tensors[f"betas_{published}"]
    return state
