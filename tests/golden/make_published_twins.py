"""Make published_twins.safetensors: small networks with random weights under the names of the released files.

Run it only when the golden tests of the official codes pass, with the folder of the golden files, which the published
names are read from:  python tests/golden/make_published_twins.py ../shared/golden
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))
from test_published import OPTIONS, TWINS, chirps, load_published, without_dropout

from nas.networks import registry
from nas.networks.published import PUBLISHED, read_state

LCNN_HEADS = {
    "lcnn-lfcc-attention": ["m_pooling.0.mm_weights", "m_output_act.0.weight", "m_output_act.0.bias"],
    "lcnn-lfcc-fixed": [f"m_output_act.0.{i}.{kind}" for i in (1, 3) for kind in ("weight", "bias")],
}


def published_names(name: str, folder: Path) -> list[str]:
    if name == "aasist-l":
        return list(read_state(folder / "AASIST-L.pth"))
    file = "rawnet2_2019_small" if name.startswith("rawnet2") else "lcnn_lstmsum_lfcc"
    with safe_open(folder / f"{file}.safetensors", "pt") as opened:
        names = [key.removeprefix("state.") for key in opened.keys() if key.startswith("state.")]  # noqa: SIM118
    if name in LCNN_HEADS:
        kept = [key for key in names if not key.startswith(("m_before_pooling", "m_output_act"))]
        names = kept + LCNN_HEADS[name]
    return names


def main(folder: Path) -> None:
    tensors = {}
    for name in sorted(OPTIONS):
        torch.manual_seed(0)
        network = registry.create(name, **OPTIONS[name])
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
        ours = network.state_dict()
        state = {}
        for key in published_names(name, folder):
            renamed = PUBLISHED[name].rename(key)
            if renamed in ours:
                state[key] = ours[renamed].clone()
        tensors.update({f"{name}/state/{key}": value for key, value in state.items()})
        loaded = load_published(name, state, **OPTIONS[name])
        waveform = chirps(3, 9_000)
        with torch.no_grad():
            tensors[f"{name}/logits"] = loaded(waveform)
            torch.manual_seed(0)
            tensors[f"{name}/logits_train"] = without_dropout(loaded)(waveform)
    save_file(tensors, TWINS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
