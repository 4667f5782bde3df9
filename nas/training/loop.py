"""The loop that a search and a training share: epochs, steps, checkpoints, stops and faults."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nas import processes
from nas.config import Search, Train
from nas.data.batches import Batch
from nas.errors import Interrupted, Untrainable
from nas.network import Network
from nas.progress import progress_bar
from nas.synchronised import average_statistics, synchronise_norms
from nas.training.board import Board
from nas.training.checkpoint import Snapshot, Watch, digests
from nas.training.engine import reduce_gradients
from nas.training.faults import fitting_batch, told
from nas.training.fingerprint import fingerprint
from nas.training.finite import FiniteWatch, StepSkipped
from nas.training.inputs import Inputs, TrainingBatches
from nas.training.run import Run
from nas.training.scoring import Scored, Sums, Totals, score_partition
from nas.training.standing import Standing, resume_from


class Loop:
    """Epochs of steps, each epoch followed by a look at the development set.

    However it is stopped, it goes on from its last checkpoint as if it had not been. A subclass makes the optimisers
    and says what a step is.

    Args:
        run: where everything is written, by the first process.
        network: on the CPU.
        settings: recipe.search or recipe.train.
        accelerator, inputs, batches: what it runs on.
        progress: whether to show progress bars.
    """

    schedules: Mapping[str, Any] = {}

    def __init__(
        self,
        run: Run,
        network: Network,
        settings: Search | Train,
        accelerator: Accelerator,
        inputs: Inputs,
        batches: TrainingBatches,
        progress: bool,
    ) -> None:
        self.run, self.recipe, self.settings, self.accelerator = run, run.recipe, settings, accelerator
        self.inputs, self.batches, self.progress = inputs, batches, progress and processes.is_first()
        engine = self.recipe.engine
        if processes.count() > 1 and engine.sync_batchnorm:
            synchronise_norms(network)
        self.network: Any = accelerator.prepare_model(network, evaluation_mode=True)
        self.optimizers = {
            name: accelerator.prepare_optimizer(optimizer) for name, optimizer in self.make_optimizers().items()
        }
        self.watch = Watch(engine.checkpoint_minutes)
        self.finite = FiniteWatch(
            inputs.store.utterances, engine.non_finite == "skip", accelerator.device, accelerator.scaler is not None
        )
        self.best: dict[str, Any] | None = None
        self.board: Board | None = None
        self.corpus = fingerprint(inputs)
        self.finished = False

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name; that of the weights first."""
        raise NotImplementedError

    def begin_epoch(self, begun: Standing) -> None:
        """Set the modes of the network, before steps of an epoch are taken from where it stands."""
        self.network.train()

    def step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | float]:
        """One step: the loss and the logits [B, 2] of the weights, detached; the loss of the architecture."""
        raise NotImplementedError

    def end_epoch(self, sums: Sums) -> dict[str, Any]:
        """After the last step of an epoch; more columns of its row."""
        return {}

    def candidate(self, epoch: int) -> bool:
        """Whether the epoch may become the best one."""
        return True

    def ended(self, epoch: int) -> bool:
        """Whether to end before this epoch."""
        return False

    def scored(self, dev: Scored) -> None:
        """What else is done with what development gave after an epoch."""

    def keep_epoch(self, epoch: int) -> None:
        """Write what else is to be kept of every epoch."""

    def keep_best(self, epoch: int) -> None:
        """Write what else is to be kept of an epoch that is the best so far."""

    def show(self, board: Board, epoch: int) -> None:
        """What else TensorBoard shows of an epoch."""

    def run_epochs(self) -> dict[str, Any]:
        """From the last checkpoint, or the start, to the last epoch; what is known of the best epoch.

        Raises:
            NasError: bad input, or a fault of the surroundings.
            Interrupted: a stop was asked for, and the run is saved.
        """
        key = "search.batch_size" if isinstance(self.settings, Search) else "train.batch_size"
        with contextlib.ExitStack() as stack:
            stack.enter_context(told(self.run.folder, key, self.settings.batch_size, self.fitting_batch))
            begun = resume_from(self.snapshot, self.run, self.corpus, len(self.batches))
            self.best, self.finite.skipped, self.finished = begun.best, begun.skipped, begun.finished
            if begun.finished and self.best is not None:
                return self.best
            stack.enter_context(self.watch.listening())
            if processes.is_first():
                self.board = stack.enter_context(Board(self.run, begun.epoch))
                self.board.watch(**self.optimizers)
                self.board.restore(begun.norms)
            for epoch in range(begun.epoch, self.settings.epochs + 1):
                if self.ended(epoch):
                    break
                self.run_epoch(begun if epoch == begun.epoch else Standing(epoch))
            # The first process writes last; no other may end, and be taken for lost, before it has.
            processes.wait()
        assert self.best is not None  # the recipe leaves at least one epoch that may become the best
        return self.best

    def save_finished(self, best: dict[str, Any]) -> None:
        """Note that nothing is left to do."""
        self.best = best
        self.save(Standing(len(self.run.history) + 1, finished=True))

    @property
    def snapshot(self) -> Snapshot:
        """All that changes from step to step."""
        return Snapshot(
            self.run.folder / "checkpoints", {"network": self.network}, self.optimizers, dict(self.schedules)
        )

    def run_epoch(self, begun: Standing) -> None:
        """Train, score the development set, save."""
        epoch, settings, board = begun.epoch, self.settings, self.board
        row = self.train_epoch(begun)
        processes.require_equal(digests(self.network.state_dict()))
        dev = self.score_development()
        row |= {"dev_loss": dev.loss, "dev_accuracy": dev.accuracy, "dev_eer": dev.eer}
        state, rank = self.network.state_dict(), list(dev.rank(settings.select))
        self.scored(dev)
        self.run.save_tensors("checkpoints/last", state, {"epoch": str(epoch)})
        self.keep_epoch(epoch)
        if self.candidate(epoch) and (self.best is None or rank < self.best["rank"]):
            self.best = {"rank": rank, "epoch": epoch, "eer": dev.eer}
            self.run.save_tensors("checkpoints/best", state, {"epoch": str(epoch), "dev_eer": str(dev.eer)})
            self.keep_best(epoch)
        self.run.record(row)
        if board is not None:
            # Before the checkpoint: an epoch that is run again replaces what it showed, a later one never comes back.
            board.epoch(row)
            board.detection(epoch, self.network, self.inputs, dev)
            self.show(board, epoch)
            board.flush()
        self.run.log(
            f"epoch {epoch}/{settings.epochs}: loss {row['train_loss']:.4f}, dev EER {dev.eer:.2f} %, "
            f"dev accuracy {dev.accuracy:.2f} %, learning rate {row['learning_rate']:.2e}"
            + (f", {self.finite.skipped} steps skipped so far" if self.finite.skipped else "")
        )
        self.save(Standing(epoch + 1))

    def score_development(self) -> Scored:
        """Score the development set; a stop is heeded between batches.

        Raises:
            Interrupted: what was trained is saved, and is scored when the run goes on.
        """
        return score_partition(
            self.network, self.inputs, "dev", self.recipe, self.accelerator, self.progress, self.stop_if_asked
        )

    def stop_if_asked(self) -> None:
        """Stop where that was asked for; what is not saved is lost."""
        if processes.anywhere(self.watch.stopping):
            raise Interrupted(self.run.folder)

    def save(self, standing: Standing) -> None:
        """A checkpoint from which the loop goes on; where a stop was asked for, stop."""
        self.finite.read()
        if processes.is_first():
            norms = self.board.norms() if self.board is not None else {}
            standing = replace(standing, best=self.best, skipped=self.finite.skipped, norms=norms)
            self.snapshot.save(standing.values(self.run, self.corpus))
        self.watch.has_saved()
        self.stop_if_asked()

    def train_epoch(self, begun: Standing) -> dict[str, Any]:
        """One pass over the training utterances, saved before anything else is done; the first values of the epoch's
        row."""
        epoch, first = begun.epoch, next(iter(self.optimizers.values()))
        self.begin_epoch(begun)
        totals = Totals(self.accelerator.device)
        totals.restore(begun.totals)
        rate = first.param_groups[0]["lr"] if begun.learning_rate is None else begun.learning_rate
        started, steps = time.perf_counter(), len(self.batches)
        batches = self.batches.epoch(epoch, begun.step)
        bar = progress_bar(batches, total=steps, initial=begun.step, desc=f"epoch {epoch}", show=self.progress)
        for step, batch in enumerate(bar, start=begun.step + 1):
            with self.skippable():
                totals.add(*self.step(batch), batch.labels)
            if not bar.disable and step % 10 == 1:
                so_far = totals.mine()
                bar.set_postfix(loss=f"{so_far.loss:.4f}", accuracy=f"{so_far.accuracy:.1f} %", lr=f"{rate:.1e}")
            if self.watch.due and step < steps:
                self.save(Standing(epoch, step, totals.state(), rate, begun.seconds + time.perf_counter() - started))
        if begun.step < steps and not self.recipe.engine.sync_batchnorm:
            average_statistics(self.network)
        self.finite.read()
        seconds, sums = begun.seconds + time.perf_counter() - started, totals.read()
        if not sums.count:
            raise Untrainable(f"every step of epoch {epoch} was skipped, for losses or gradients that are not finite")
        if begun.step < steps:
            # Scoring may take minutes, and a cluster that takes a machine back waits for seconds.
            self.save(Standing(epoch, steps, totals.state(), rate, seconds))
        return {
            "epoch": epoch,
            "train_loss": sums.loss,
            "train_accuracy": sums.accuracy,
            **self.end_epoch(sums),
            "learning_rate": rate,
            "utterance_rate": steps * self.settings.batch_size * processes.count() / seconds,
        }

    def backward(self, optimizer: Any, batch: Batch) -> Callable[[Tensor], None]:
        """Gradients of a loss, scaled for the precision, averaged over the processes and looked at."""

        def compute(loss: Tensor) -> None:
            self.accelerator.backward(loss)
            self.finite.look(loss, reduce_gradients(parameters_of(optimizer)), batch.indices)

        return compute

    @contextlib.contextmanager
    def skippable(self) -> Iterator[None]:
        """Undo what a step that is skipped has done to the running statistics."""
        if not self.finite.skip:
            yield
            return
        before = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        try:
            yield
        except StepSkipped:
            for buffer, content in before:
                buffer.copy_(content)

    def fitting_batch(self) -> int:
        """The batch size that the memory of the GPU would hold, measured; half of the recipe's where it cannot be."""
        asked = self.settings.batch_size
        # Processes that normalise together cannot step alone.
        if self.accelerator.device.type != "cuda" or processes.count() > 1:
            return asked // 2
        torch.cuda.empty_cache()
        return fitting_batch(self.peak_memory, torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved(), asked)

    def peak_memory(self, count: int) -> int:
        """Bytes on the GPU at the peak of a step on so many utterances."""
        device = self.accelerator.device
        torch.cuda.reset_peak_memory_stats(device)
        labels = torch.arange(count, device=device) % 2
        loss = self.network.output.loss(
            self.network(torch.rand(count, self.recipe.data.samples, device=device)), labels
        )
        torch.autograd.grad(loss, [p for p in self.network.parameters() if p.requires_grad], allow_unused=True)
        return torch.cuda.max_memory_allocated(device)


def parameters_of(optimizer: Any) -> list[nn.Parameter]:
    """Everything that an optimiser trains."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
