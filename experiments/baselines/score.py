"""Score a corpus, or any protocol with its audio, with published weights; write the scores and print the EER.

    python -m experiments.baselines.score --model aasist-l --weights AASIST-L.pth \
        --protocol CORPUS/protocol.txt --audio CORPUS/flac --scores aasist_l.txt

    python -m experiments.baselines.score --model aasist --weights AASIST.pth \
        --layout asvspoof2019_la --root LA --partition eval --scores aasist.txt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nas.data.decode import decode
from nas.data.readers.protocol import locate, read_protocol
from nas.data.readers.registry import read
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.metrics import Trials, evaluate_trials, write_scores
from nas.networks import registry
from nas.networks.inference import prepare_for_inference
from nas.networks.published import load_published
from nas.networks.scoring import score_waveform


def score_utterances(
    network: nn.Module, utterances: Sequence[Utterance], samples: int | None, progress: bool = True
) -> Trials:
    """Score every utterance by itself with a network in evaluation mode.

    Args:
        network: waveform [B, T] -> logits [B, 2], with its head as `output`.
        utterances: what to score.
        samples: the length that the network sees of each; None for whole utterances.
        progress: whether to show a progress bar.

    Raises:
        NasError: audio that cannot be read.
    """
    scores = np.empty(len(utterances))
    for index, utterance in enumerate(tqdm(utterances, unit="utt", disable=not progress)):
        scores[index] = score_waveform(network, torch.from_numpy(decode(utterance.path)), samples)
    return Trials(
        utterance=np.array([u.utterance for u in utterances]),
        attack=np.array([u.attack for u in utterances]),
        label=np.array([u.label for u in utterances]),
        score=scores,
        speaker=np.array([u.speaker for u in utterances]),
    )


def score_published(
    model: str, weights: str | Path | Mapping[str, Tensor], utterances: Sequence[Utterance], progress: bool = True
) -> Trials:
    """Score utterances with a published system, on a CPU, at the length that the system sees.

    Raises:
        NasError: unknown model, weights that do not fit, audio that cannot be read.
    """
    network = prepare_for_inference(load_published(model, weights))
    return score_utterances(network, utterances, registry.entry(model).samples, progress)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Score a corpus with published weights.")
    parser.add_argument("--model", required=True, help="name of the network, e.g. aasist-l")
    parser.add_argument("--weights", required=True, help="the released file")
    parser.add_argument("--protocol", help="a protocol of five columns, with --audio")
    parser.add_argument("--audio", help="folder of the protocol's audio")
    parser.add_argument("--layout", help="layout of a corpus, with --root")
    parser.add_argument("--root", help="folder of the corpus")
    parser.add_argument("--partition", default="eval")
    parser.add_argument("--scores", required=True, help="score file to write")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        if given.protocol and given.audio:
            protocol = Path(given.protocol)
            utterances = locate(read_protocol(protocol), Path(given.audio), given.partition, protocol)
        elif given.layout and given.root:
            utterances = list(read(given.layout, given.root, partitions=(given.partition,)))
        else:
            raise NasError("say what to score: --protocol and --audio, or --layout and --root")
        trials = score_published(given.model, given.weights, utterances)
        write_scores(given.scores, trials)
        evaluation = evaluate_trials(trials)
    except NasError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(trials)} trials, EER {evaluation.eer:.4f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
