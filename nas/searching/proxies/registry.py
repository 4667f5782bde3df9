"""The registry of proxies, and what several of them say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from nas.errors import NasError
from nas.registry import Registry

Proxy = Callable[[Any, Tensor, Tensor], float]
"""Of a network: `Network`, of a genotype where the proxy looks at its `cells`."""

PROXIES: Registry[Proxy] = Registry("training-free proxy")


def aggregate_ranks(scores: Mapping[str, Sequence[float]]) -> np.ndarray:
    """One score for each of n networks from several proxies: the sum of log(rank / n), the best network of a proxy with
    rank n (AZ-NAS, Lee and Ham 2024). It is at most 0, and only networks of one population are comparable.

    Args:
        scores: for each proxy the values of all networks; equal values share their mean rank, nan is worst.

    Raises:
        NasError: no proxy, or proxies of different numbers of networks.
    """
    lengths = {len(values) for values in scores.values()}
    if len(lengths) != 1 or not min(lengths):
        raise NasError("ranks are aggregated over one value of every proxy for every network")
    table = np.nan_to_num(np.array(list(scores.values()), dtype=np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    return np.log(rankdata(table, axis=1) / lengths.pop()).sum(axis=0)
