"""PC-DARTS: partial channels and edge normalisation (Xu et al. 2020), as in Raw PC-DARTS (Ge et al. 2021)."""

from __future__ import annotations

from nas.searching.strategies.strategy import STRATEGIES, Differentiable


@STRATEGIES.entry("pcdarts")
class PCDarts(Differentiable):
    """softmax(alpha) weighs the primitives of an edge, softmax(beta) the edges into a node; 1 / K_C of the channels."""
