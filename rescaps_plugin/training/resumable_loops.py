"""Training loops whose result does not depend on whether the training was killed and resumed.

Random numbers depend only on the progress of the training: a sample's augmentation on the seed, the iteration and its
position in the batch, a step of the model on the seed, the iteration and the process. So checkpoints need no states of
generators, and a resumed run draws the numbers that the killed one would have drawn, for any number of data loading
workers in either, however many batches they prefetched, and with or without validations.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Sampler

from rescaps_plugin.cli.errors import UserError


def seed_cpu(seed: int) -> None:
    """Seed the generators that transforms of samples draw from: Python's, NumPy's, and PyTorch's on the CPU.

    ``torch.manual_seed`` also looks for devices of every kind, which takes longer than many transforms.

    Args:
        seed: 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


class PlacedBatch(Sequence):
    """Indices of a batch's samples that seed the random generators of the process that iterates over them.

    A data loader iterates over the indices where it loads the samples: in a worker, if there is one.

    Args:
        indices: Indices of the samples.
        seeds: One seed for each.
    """

    def __init__(self, indices: Sequence[Any], seeds: Sequence[int]) -> None:
        self.indices = indices
        self.seeds = seeds

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        return self.indices[place]

    def __iter__(self) -> Iterator[Any]:
        for index, seed in zip(self.indices, self.seeds, strict=True):
            seed_cpu(seed)
            yield index


class PlacedBatchSampler(Sampler):
    """Sampler of batches that are seeded for the iteration that they are used in.

    The sample at a position of the batch over all processes gets the same seed on any number of processes.

    Args:
        sampler: Sampler of this process's sample indices.
        batch_size: Samples in a batch.
        seed: Seed of the training.
        drop_last: Whether to leave out a batch that is not full. Defaults to False.
        batch_sampler: Config of another sampler of batches, built with ``sampler`` and ``batch_size``. Defaults to
            None.
        endless: Whether to start again when the sampler ends. Defaults to False.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
        batch_sampler: dict | None = None,
        endless: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.seed = seed
        self.endless = endless
        self.batches = BatchSampler(sampler, batch_size, drop_last)
        if batch_sampler is not None:
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size))
        # The iteration of the next batch, and the first iteration to load batches for.
        self.iteration = 0
        self.begin = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[PlacedBatch]:
        rank, world_size = get_dist_info()
        for indices in self._rounds() if self.endless else self.batches:
            iteration = self.iteration
            self.iteration += 1
            if iteration >= self.begin:
                sequence = np.random.SeedSequence((self.seed, iteration))
                seeds = sequence.generate_state(world_size * len(indices))[rank::world_size]
                yield PlacedBatch(indices, seeds.tolist())

    def _rounds(self) -> Iterator[Sequence[Any]]:
        epoch = 0
        while True:
            empty = True
            for indices in self.batches:
                empty = False
                yield indices
            if empty:
                raise UserError(f'train_dataloader has no batch of {self.batch_size} samples to give.')
            epoch += 1
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)


class _PlacedLoop:
    """Base of both training loops: seeded batches and steps, and a validation that a killed run did not reach."""

    endless: bool

    def __init__(self, runner: Runner, dataloader: dict, **kwargs) -> None:
        batches = dict(
            type=PlacedBatchSampler,
            seed=runner.seed,
            batch_sampler=dataloader.get('batch_sampler'),
            endless=self.endless,
        )
        dataloader = dict(dataloader, batch_sampler=batches)
        if batches['batch_sampler'] is None:
            batches['drop_last'] = dataloader.pop('drop_last', False)
        super().__init__(runner, dataloader, **kwargs)
        self.batches: PlacedBatchSampler = self.dataloader.batch_sampler
        # Finished batches of the current epoch; whether a resumed checkpoint was saved before a validation.
        self.batches_done = 0
        self.owes_validation = False

    def run_iter(self, *args) -> None:
        """Train on a batch."""
        rank, _ = get_dist_info()
        sequence = np.random.SeedSequence((self.runner.seed, self._iter), spawn_key=(rank,))
        seed = int(sequence.generate_state(1)[0])
        seed_cpu(seed)
        # Also the generators of the devices, which a step of the model may draw from.
        torch.manual_seed(seed)
        super().run_iter(*args)

    def validate(self, done: int, total: int) -> None:
        """Validate if due after ``done`` of ``total`` epochs or iterations."""
        self.owes_validation = False
        self._decide_current_val_interval()
        due = done % self.val_interval == 0 or done == total
        if self.runner.val_loop is not None and done >= self.val_begin and due:
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochLoop(_PlacedLoop, EpochBasedTrainLoop):
    """:class:`mmengine.runner.EpochBasedTrainLoop` that resumes at the saved iteration, also within an epoch."""

    endless = False

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        if self.owes_validation:
            self.validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self.validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for one epoch, or for the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.batches.iteration = self._iter - self.batches_done
        self.batches.begin = self._iter
        for index, data_batch in enumerate(self.dataloader, self.batches_done):
            self.run_iter(index, data_batch)
        self.batches_done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on a batch, the ``idx``-th of the epoch."""
        self.batches_done = idx + 1
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(_PlacedLoop, IterBasedTrainLoop):
    """:class:`mmengine.runner.IterBasedTrainLoop` that resumes at the saved iteration.

    Batches that were trained on before are not loaded again. The data loader is endless: workers are not restarted when
    the sampler ends.
    """

    endless = True

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        if self.owes_validation:
            self.validate(self._iter, self._max_iters)
        self.runner.call_hook('before_train_epoch')
        # The workers started loading when the loop was built, from the first batch.
        loaded_ahead = min(self.batches.iteration, self._iter)
        self.batches.begin = self._iter
        for _ in range(loaded_ahead):
            next(self.dataloader_iterator)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self.validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


_RESUMABLE = {EpochBasedTrainLoop: ResumableEpochLoop, IterBasedTrainLoop: ResumableIterLoop}


def resumable(loop: dict[str, Any]) -> dict[str, Any]:
    """Replace MMEngine's training loops by those of this module.

    Args:
        loop: Config of a training loop.

    Returns:
        The config, with the type :class:`ResumableEpochLoop` or :class:`ResumableIterLoop` in place of the loop that it
        extends; unchanged for any other type.
    """
    loop = dict(loop)
    if 'type' not in loop:
        loop['type'] = EpochBasedTrainLoop if loop.pop('by_epoch', True) else IterBasedTrainLoop
    kind = LOOPS.get(loop['type']) if isinstance(loop['type'], str) else loop['type']
    return dict(loop, type=_RESUMABLE.get(kind, loop['type']))
