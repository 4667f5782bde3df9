"""Which weights a training starts from, and which of them it trains: by patterns of names, as a shell has them.

`*` is any run of characters, dots included: "encoder.0.*" is all of the first block, "*.norm_2.*" all second
normalisations. Names are those of the network's state_dict (`nas.load_published(...).state_dict()`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.config import Train as Settings
from nas.errors import NasError
from nas.networks.published import PUBLISHED, fit_entries, listed, read_state, require_entry
from nas.networks.raw_pcdarts import require_derived
from nas.training.run import Run, read_tensors


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is that of the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def require_matches(patterns: Iterable[str], names: Sequence[str], key: str) -> None:
    """Refuse a pattern that no name has: it is a slip that would go unseen.

    Raises:
        NasError: naming the recipe's key, the pattern and the nearest name.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = get_close_matches(pattern, names, n=1, cutoff=0.5)
            right = f"did you mean {close[0]!r}?" if close else f"names are {listed(list(names))}"
            raise NasError(f"{key}: {pattern!r} matches no name of the network; {right}")


def read_weights(source: Path, name: str, ours: Iterable[str]) -> dict[str, Tensor]:
    """Weights by the names of the network: of a train run (its best epoch), of a file of ours, or of a published file.

    Args:
        source: a run directory, a .safetensors file, or a PyTorch file of tensors.
        name: of the network in the registry, for the names that published files have.
        ours: the names of its state_dict.

    Raises:
        NasError: it is none of these, or cannot be read.
    """
    if source.is_dir():
        if Run.open(source).kind != "train":
            raise NasError(f"{source} is a search run; weights to start from come from a train run")
        return read_tensors(source / "checkpoints" / "best.safetensors")
    known, state = set(ours), read_state(source)
    if name == "raw-pcdarts":
        require_derived(state, source)
    entries, surplus = fit_entries(state, name, known, source)
    return {new: value for new, (_, value) in entries.items()} | surplus


def frontend_entries(source: Path) -> dict[str, Tensor]:
    """The first layer's weights, of a file of its own or among those of a network, under published names or ours.

    Raises:
        NasError: the file cannot be read.
    """
    state, rename = read_state(source), PUBLISHED["raw-pcdarts"].rename
    found = {}
    for key, value in state.items():
        # Wrappers of several processes put "module." before every name.
        _, within, name = rename(key.removeprefix("module.")).rpartition("stem.frontend.")
        if within:
            found[name] = value
    return found or state


def take_weights(network: nn.Module, name: str, source: Path, settings: Settings) -> str:
    """Give a network the weights of `source` whose names match `train.load` and none of `train.reinitialise`.

    Args:
        network: changed in place; what is not taken stays as it was initialised.
        name: of the network in the registry.
        source: see `read_weights`.
        settings: with `load` and `reinitialise`.

    Returns:
        What was taken and what was left, for the log.

    Raises:
        NasError: a pattern that matches nothing, or weights that are missing, left over, of another shape, not finite.
    """
    ours = network.state_dict()
    require_matches(settings.load, list(ours), "train.load")
    require_matches(settings.reinitialise, list(ours), "train.reinitialise")

    def wanted(names: Mapping[str, Tensor]) -> list[str]:
        return [n for n in names if matches(n, settings.load) and not matches(n, settings.reinitialise)]

    found = read_weights(source, name, ours)
    taken = wanted(ours)
    leave = "weights that are not to be taken are named in train.reinitialise"
    if missing := [key for key in taken if key not in found]:
        raise NasError(f"{source} lacks entries that {name} needs: {listed(missing)}; {leave}")
    if surplus := [key for key in wanted(found) if key not in ours]:
        raise NasError(f"{source} has entries that {name} does not have: {listed(surplus)}; {leave}")
    if not taken:
        raise NasError("train.load and train.reinitialise together leave no weights to take")
    for key in taken:
        require_entry(source, key, found[key], name, ours[key], leave)
    network.load_state_dict({key: found[key] for key in taken}, strict=False)
    left = [key for key in ours if key not in set(taken)]
    return f"{len(taken)} of {len(ours)} entries taken from {source}" + (f"; as initialised: {_all(left)}" * bool(left))


def freeze(network: nn.Module, settings: Settings) -> str:
    """Take the parameters that match `train.freeze` out of the training.

    Returns:
        What is frozen, for the log; empty where nothing is.

    Raises:
        NasError: a pattern that matches nothing, or nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    norms = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    require_matches(settings.freeze, list(parameters), "train.freeze")
    require_matches(norm_patterns(settings), norms, "train.freeze_norms")
    for name, parameter in parameters.items():
        if matches(name, settings.freeze):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise NasError("train.freeze leaves no parameter to train")
    frozen = {name: parameter for name, parameter in parameters.items() if matches(name, settings.freeze)}
    still = [name for name in norms if matches(name, norm_patterns(settings))]
    count = sum(parameter.numel() for parameter in frozen.values())
    total = sum(parameter.numel() for parameter in parameters.values())
    parts = [f"{count:,} of {total:,} parameters frozen: {_all(list(frozen))}"] if frozen else []
    return "; ".join(parts + ([f"statistics kept of {len(still)} of {len(norms)} normalisations"] if still else []))


def norm_patterns(settings: Settings) -> list[str]:
    """`train.freeze_norms` as patterns of module names."""
    if isinstance(settings.freeze_norms, bool):
        return ["*"] if settings.freeze_norms else []
    return settings.freeze_norms


def hold_norms(network: nn.Module, settings: Settings) -> None:
    """Normalisations that match `train.freeze_norms` use, and keep, the statistics that they came with."""
    patterns = norm_patterns(settings)
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and matches(name, patterns):
            module.eval()


def _all(names: list[str]) -> str:
    """Names, those of one module together: "encoder.0.*"."""
    modules = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    return listed(list(modules))
