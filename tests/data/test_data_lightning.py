"""TrainBatches in a real Lightning Trainer: epochs differ, and resuming repeats no batch."""

import rewire  # noqa: F401 - first, because it lets torchvision import beside a CPU build of torch

# isort: split
import hashlib
import warnings

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.images import ImageSet
from rewire.rng import generator

N, BATCH, STEPS, EPOCHS = 22, 4, 5, 3


def make_loader():
    pixels = torch.randint(
        0, 256, (N, 1, 8, 8), dtype=torch.uint8, generator=generator(0, "test images")
    )
    data = ImageSet(pixels, torch.arange(N), torch.arange(N))
    return TrainBatches(data, batch_size=BATCH, seed=3, augmentation="shift")


class Recorder(pl.LightningModule):
    """A linear model that notes which images it saw, and a hash of the augmented pixels."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, N)
        self.seen = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append((y.tolist(), hashlib.sha256(x.numpy().tobytes()).hexdigest()))
        return torch.nn.functional.cross_entropy(self.layer(x.flatten(1)), y)

    def validation_step(self, batch, batch_idx):
        self.layer(batch[0].flatten(1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SetEpoch(Callback):
    """What a training callback may do, and need not."""

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.train_dataloader.set_epoch(trainer.current_epoch)


def fit(folder, *, callbacks=(), ckpt_path=None, max_steps=-1, validate=False):
    model = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            max_steps=max_steps,
            logger=False,
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=list(callbacks),
            num_sanity_val_steps=0,
        )
        trainer.fit(
            model,
            make_loader(),
            EvalBatches(make_loader().data, batch_size=BATCH) if validate else None,
            ckpt_path=ckpt_path,
        )
    return model.seen


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One checkpoint after every training step, from a run that is stopped before its end."""
    folder = tmp_path_factory.mktemp("checkpoints")
    saver = ModelCheckpoint(
        dirpath=folder,
        filename="{step}",
        every_n_train_steps=1,
        save_top_k=-1,
        save_on_train_epoch_end=False,
    )
    fit(folder, callbacks=[saver], max_steps=13)
    return folder


def test_three_epochs_see_three_permutations(uninterrupted):
    epochs = [uninterrupted[i * STEPS : (i + 1) * STEPS] for i in range(EPOCHS)]
    orders = [[label for labels, _ in epoch for label in labels] for epoch in epochs]
    assert len(uninterrupted) == EPOCHS * STEPS
    for order in orders:
        assert len(order) == len(set(order)) == STEPS * BATCH
        assert set(order) <= set(range(N))
    assert len({tuple(order) for order in orders}) == EPOCHS
    assert len({digest for _, digest in uninterrupted}) == EPOCHS * STEPS


@pytest.mark.parametrize("callbacks", [(), (SetEpoch(),)], ids=["alone", "set_epoch"])
@pytest.mark.parametrize("step", range(1, 14))
def test_resumed_run_sees_the_batches_of_the_uninterrupted_run(
    checkpoints, uninterrupted, step, callbacks, tmp_path
):
    rest = fit(tmp_path, ckpt_path=checkpoints / f"step={step}.ckpt", callbacks=callbacks)
    assert rest == uninterrupted[step:]


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("callbacks", [(), (SetEpoch(),)], ids=["alone", "set_epoch"])
def test_resume_from_the_end_of_an_epoch(uninterrupted, callbacks, validate, tmp_path):
    saver = ModelCheckpoint(
        dirpath=tmp_path, filename="{epoch}", save_on_train_epoch_end=not validate
    )
    fit(tmp_path, callbacks=[saver], max_steps=STEPS, validate=validate)
    checkpoint = tmp_path / "epoch=0.ckpt"
    rest = fit(tmp_path, ckpt_path=checkpoint, callbacks=callbacks, validate=validate)
    assert rest == uninterrupted[STEPS:]


def test_set_epoch_callback_and_validation_change_nothing(uninterrupted, tmp_path):
    assert fit(tmp_path, callbacks=[SetEpoch()], validate=True) == uninterrupted
