"""Names that the published Raw PC-DARTS code gives to the supernet's parameters, for the golden tests."""

from __future__ import annotations

import re

from torch import Tensor

_SUPERNET = (
    (r"^sinc\.(low_hz|band_hz)_$", r"stem.frontend.\1"),
    (r"^bn\.", "stem.norm."),
    (r"^stem\.0\.", "stem.conv."),
    (r"^stem\.1\.", "stem.conv_norm."),
    (r"^gru\.", "head.gru."),
    (r"^fc_gru\.", "head.fc."),
    (r"^l_layer\.", "output."),
    (r"\.preprocess0\.(op\.1|conv)", r".preprocess.first.conv"),
    (r"\.preprocess0\.(op\.3|bn)", r".preprocess.first.norm"),
    (r"\.preprocess1\.op\.", ".preprocess.second."),
    (r"\._ops\.(\d+)\._ops\.(\d+)\.(op\.)?", r".edges.\1.candidates.\2."),
)


def supernet_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state_dict from the golden file's `state.*`, `alphas_*` and `betas_*`."""
    state = {}
    for name, tensor in tensors.items():
        if name.startswith("state."):
            name = name.removeprefix("state.")
            for pattern, replacement in _SUPERNET:
                name = re.sub(pattern, replacement, name)
            state[name] = tensor
    for ours, published in (("normal", "normal"), ("expand", "reduce")):
        state[f"architecture.alpha_{ours}"] = tensors[f"alphas_{published}"]
        state[f"architecture.beta_{ours}"] = tensors[f"betas_{published}"]
    return state
