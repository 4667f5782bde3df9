"""Training-free proxies: a guess, from an untrained network and a batch, at which genotypes are worth training.

A proxy is a function of a freshly initialised network, waveforms [B, T] and labels [B]; higher is taken for better. The
network is left as it was, except for gradients and running statistics; it is thrown away afterwards. What a proxy is
worth is measured on a table of trainings, beside the number of parameters, which many proxies do not beat.
"""

from nas.searching.proxies import activations, gradients, size, spectra  # each registers its proxies
from nas.searching.proxies.registry import PROXIES, Proxy, aggregate_ranks

__all__ = ["PROXIES", "Proxy", "activations", "aggregate_ranks", "gradients", "size", "spectra"]
