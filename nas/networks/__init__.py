"""Waveform to logits: the network of a genotype, AASIST, RawNet2 and LCNN, by name and with published weights."""

from nas.network import Network
from nas.networks.inference import prepare_for_inference
from nas.networks.published import load_published
from nas.networks.registry import create, names, register

__all__ = ["Network", "create", "load_published", "names", "prepare_for_inference", "register"]
