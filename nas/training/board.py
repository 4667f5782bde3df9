"""What TensorBoard shows of a run: few curves, well named, and pictures of what a number does not tell.

`nas.training.tags` has the whole list, docs/visual.md says how to read it. Nothing here draws from a random generator
or changes the network: a run is the same bits with and without it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.tensorboard.summary import hparams

from nas.data.utterance import Utterance
from nas.frontends.sinc import SAMPLE_RATE
from nas.genotype import Genotype
from nas.metrics import Trials, min_tdcf, read_asv_scores
from nas.network import Network
from nas.supernet.architecture import Architecture
from nas.training.events import EventWriter, keep_events
from nas.training.gradient_norm import GradientNorm
from nas.training.inputs import Inputs
from nas.training.projector import write_projector
from nas.training.run import Run
from nas.training.scoring import Scored
from nas.training.tags import CURVES, HEARD, HPARAMS, layout, learnt_scale
from nas.visual.detection import draw_det, draw_histograms, gather_detection
from nas.visual.film import Film
from nas.visual.filters import draw_filters, gather_filters
from nas.visual.genotype import genotype_figure
from nas.visual.look import plain
from nas.visual.weights import draw_weights

SHOWN_ELSEWHERE = ("epoch", "learning_rate")
BLOCK = "    "
"""Before every line, makes a block of Markdown that nothing inside can end."""


class Board:
    """Writes RUN/tensorboard.

    Args:
        run: the run that is shown.
        first_epoch: what earlier starts wrote of this epoch and later ones is dropped.

    Raises:
        NasError: `data.asv_scores` is not a file of ASV scores, or TensorBoard's files cannot be written.
    """

    def __init__(self, run: Run, first_epoch: int = 1) -> None:
        self.run, self.recipe = run, run.recipe
        asv = self.recipe.data.asv_scores
        self.asv = read_asv_scores(asv) if asv else None
        self.filters_shown = False
        self.optimizers: dict[str, GradientNorm] = {}
        self.folder = run.folder / "tensorboard"
        keep_events(self.folder, first_epoch, HPARAMS)
        self.writer = EventWriter(self.folder, purge_step=first_epoch)
        self.writer.add_text("recipe", textwrap.indent(self.recipe.to_yaml(), BLOCK))
        self.writer.add_custom_scalars(layout(run.kind, self.recipe))

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for watched in self.optimizers.values():
            watched.handle.remove()
        if kind is None:
            if self.run.history:
                self._hparams()
            self.writer.close()

    def watch(self, **optimizers: Any) -> None:
        """Learning rates and gradient norms of these optimisers are shown from now on."""
        self.optimizers |= {name: GradientNorm(optimizer) for name, optimizer in optimizers.items()}

    def norms(self) -> dict[str, dict[str, Any]]:
        """What was watched of the epoch so far, for a checkpoint."""
        return {name: watched.state() for name, watched in self.optimizers.items()}

    def restore(self, norms: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with an epoch of which `norms` were saved."""
        for name, state in norms.items():
            self.optimizers[name].restore(state)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Curves of an epoch's row of history.csv, and of what was watched since the last one."""
        epoch = int(row["epoch"])
        for name, value in row.items():
            if isinstance(value, int | float) and name not in SHOWN_ELSEWHERE:
                self.writer.add_scalar(CURVES.get(name, f"run/{name}"), value, epoch)
        for name, watched in self.optimizers.items():
            if watched.taken:
                self.writer.add_scalar(f"learning_rate/{name}", watched.learning_rate, epoch)
                self.writer.add_scalar(f"gradient_norm/{name}", watched.mean_norm(), epoch)
        if torch.cuda.is_available():
            self.writer.add_scalar("gpu_memory/peak_gib", torch.cuda.max_memory_allocated() / 2**30, epoch)
            torch.cuda.reset_peak_memory_stats()

    def flush(self) -> None:
        """Write what an epoch has shown: all of it, or nothing.

        Raises:
            OSError: the disk is full.
        """
        self.writer.flush()

    @torch.no_grad()
    def architecture(self, epoch: int, architecture: Architecture, genotype: Genotype) -> None:
        """How far the search has decided, and the genotype with the strengths of its edges."""
        types = architecture.space.types
        weights = {name: [part.double().cpu().numpy() for part in architecture.weights(name)] for name in types}
        alpha, beta = ({name: weights[name][part][None] for name in types} for part in (0, 1))
        film = Film(architecture.space, (epoch,), alpha, beta, (genotype,))
        for kind in types:
            self.writer.add_scalar(f"search/entropy_{kind}", film.entropy(kind).mean(), epoch)
            self.writer.add_scalar(f"search/parameter_free_{kind}", film.parameter_free(kind)[0], epoch)
            self.writer.add_histogram(f"alpha/{kind}", alpha[kind].ravel(), epoch)
        self.writer.add_text("genotype", textwrap.indent(textwrap.fill(str(genotype), 100), BLOCK), epoch)
        if self.pictured(epoch):
            for kind in types:
                self._picture(f"alpha_map/{kind}", draw_weights(film, kind), epoch)
            strengths = film.kept_strengths(0)
            self._picture("genotype", genotype_figure(genotype, film.space, strengths, f"Epoch {epoch}"), epoch)

    def detection(self, epoch: int, network: Network, inputs: Inputs, dev: Scored) -> None:
        """How the development set was scored: curves, the worst utterances to listen to, embeddings, the filters."""
        indices = inputs.partitions["dev"]
        table = [inputs.store.utterances[index] for index in indices]
        if np.isfinite(dev.scores).all():
            # Numbers for names: pictures need none, and a corpus may hold a name twice.
            numbers = np.arange(len(table)).astype(str)
            attacks, labels = np.array([row.attack for row in table]), np.array([row.label for row in table], np.int8)
            trials = Trials(numbers, attacks, labels, dev.scores)
            self._scores(epoch, trials)
            if self.pictured(epoch):
                self._worst(epoch, inputs, table, dev.scores, trials.label)
                write_projector(self.folder, network, inputs, table, dev.scores, self.recipe)
        if self.pictured(epoch):
            self._filters(epoch, network)

    def pictured(self, epoch: int) -> bool:
        """Whether this epoch is one of the `engine.pictures`; the last one always is."""
        wanted = self.recipe.engine.pictures
        epochs = self.recipe.search.epochs if self.run.kind == "search" else self.recipe.train.epochs
        return wanted > 0 and (epochs - epoch) % -(-epochs // wanted) == 0

    def _scores(self, epoch: int, trials: Trials) -> None:
        self.writer.add_histogram("scores/bonafide", trials.bonafide, epoch)
        self.writer.add_histogram("scores/spoof", trials.spoof, epoch)
        if self.asv is not None:
            self.writer.add_scalar("tdcf/dev", min_tdcf(trials.bonafide, trials.spoof, self.asv).value, epoch)
        if self.pictured(epoch):
            pictures = gather_detection({f"dev, epoch {epoch}": trials})
            self._picture("dev/det", draw_det(pictures), epoch)
            self._picture("dev/scores", draw_histograms(pictures), epoch)

    def _worst(
        self, epoch: int, inputs: Inputs, table: Sequence[Utterance], scores: np.ndarray, labels: np.ndarray
    ) -> None:
        """What the network heard of the bona fide utterances with the lowest scores, the spoofed with the highest."""
        order = np.argsort(scores, kind="stable")
        rows = ["| listen | utterance | key | attack | speaker | score |", "|---|---|---|---|---|--:|"]
        for key, label, ranked in (("bonafide", 1, order), ("spoof", 0, order[::-1])):
            for rank, at in enumerate([at for at in ranked if labels[at] == label][:HEARD], start=1):
                row, tag = table[at], f"worst_{key}/{rank}"
                heard = inputs.store.waveform(int(inputs.partitions["dev"][at]))[: self.recipe.data.samples]
                self.writer.add_audio(tag, heard.unsqueeze(0), epoch, SAMPLE_RATE)
                cells = [tag, *map(_literal, (row.utterance, row.key, row.attack, row.speaker)), f"{scores[at]:.4f}"]
                rows.append(f"| {' | '.join(cells)} |")
        self.writer.add_text("worst", "\n".join(rows), epoch)

    def _filters(self, epoch: int, network: nn.Module) -> None:
        scale = learnt_scale(self.recipe)
        if scale is None and self.filters_shown:
            return
        picture = gather_filters(network, scale)
        if picture is None:
            return
        self.filters_shown = True
        if scale is not None:
            self.writer.add_scalar("front_end/mean_shift_hz", picture.mean_shift_hz, epoch)
        self._picture("front_end/filters", draw_filters(picture), epoch)

    def _hparams(self) -> None:
        """The recipe's values beside the final metrics, for the table of runs."""
        rows = self.run.history
        best = min(rows, key=lambda row: float(row["dev_eer"]))
        found = (float(best["dev_eer"]), float(best["epoch"]), float(rows[-1]["train_loss"]))
        metrics = dict(zip(HPARAMS, found, strict=True))
        sections = dict.fromkeys(("name", "seed", "space", "network", "supernet", self.run.kind), True)
        values = self.recipe.model_dump(mode="json", include={**sections, "data": {"layout", "samples"}})
        for summary in hparams({"kind": self.run.kind, **_flat(values)}, metrics):
            self.writer._get_file_writer().add_summary(summary)
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, int(rows[-1]["epoch"]))

    def _picture(self, tag: str, figure: Figure, epoch: int) -> None:
        figure.set_dpi(100)
        self.writer.add_figure(tag, figure, epoch)


def _literal(text: str) -> str:
    """Text that Markdown and HTML show as it is: every sign as its number."""
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in plain(text, 80))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"search": {"epochs": 3}} -> {"search.epochs": 3}; what is neither number nor text becomes text."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
