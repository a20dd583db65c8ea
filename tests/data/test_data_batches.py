import itertools

import pytest
import torch

from rewire.data.augment import AUGMENTATIONS
from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.images import ImageSet
from rewire.errors import InputError
from rewire.rng import generator

N, BATCH = 23, 5


def numbered(count=N, shape=(3, 8, 8)):
    """Image n is filled with the value n, so that a batch shows which images it holds."""
    places = torch.arange(count)
    images = places.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape).contiguous()
    return ImageSet(images, places % 10, places + 1000)


def batches(data=None, **changes):
    options = {"batch_size": BATCH, "seed": 0, "augmentation": "none"} | changes
    return TrainBatches(data or numbered(), **options)


def ids(x):
    return (x[:, 0, 0, 0] * 255).round().long().tolist()


def epoch_ids(loader):
    return [ids(x) for x, _ in loader]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28)])
def test_an_epoch_is_a_permutation_without_the_last_batch(shape):
    loader = batches(numbered(shape=shape))
    assert len(loader) == 4
    seen = []
    for x, y in loader:
        assert x.shape == (BATCH, *shape)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert torch.equal(x, x[:, :1, :1, :1].expand_as(x))
        assert y.tolist() == [n % 10 for n in ids(x)]
        seen += ids(x)
    assert len(seen) == len(set(seen)) == 20
    assert set(seen) < set(range(N))


def test_epochs_and_seeds_have_their_own_order():
    loader = batches()
    epochs = [epoch_ids(loader) for _ in range(3)]
    assert loader.epoch == 2
    assert all(len(epoch) == 4 for epoch in epochs)
    assert all(a != b for a, b in itertools.combinations(epochs, 2))
    assert epoch_ids(batches(seed=1)) != epochs[0]
    assert epoch_ids(batches()) == epochs[0]


def test_order_is_the_documented_function_of_seed_and_epoch():
    loader = batches(seed=7)
    loader.set_epoch(3)
    order = torch.randperm(N, generator=generator(7, "training order", 3)).tolist()
    assert list(itertools.chain(*epoch_ids(loader))) == order[:20]


@pytest.mark.parametrize("augmentation", list(AUGMENTATIONS))
def test_augmentation_depends_on_seed_epoch_and_batch_only(augmentation):
    data = ImageSet(
        torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "test")),
        torch.arange(N),
        torch.arange(N),
    )
    loader = batches(data, augmentation=augmentation)
    loader.set_epoch(2)
    for position, (x, y) in enumerate(loader):
        random = generator(0, "augmentation", 2, position)
        expected = AUGMENTATIONS[augmentation](data.images[y] / 255, generator=random)
        torch.testing.assert_close(x, expected, rtol=0, atol=0)


def test_set_epoch_wins_and_keeps_the_place_in_the_running_epoch():
    epochs = [epoch_ids(loader) for loader in [batches()] for _ in range(6)]
    loader = batches()
    loader.set_epoch(4)
    assert epoch_ids(loader) == epochs[4]
    loader.set_epoch(4)
    assert epoch_ids(loader) == epochs[4]
    loader.set_epoch(1)
    assert epoch_ids(loader) == epochs[1]
    assert epoch_ids(loader) == epochs[2]
    iterator = iter(loader)
    assert [ids(next(iterator)[0]) for _ in range(2)] == epochs[3][:2]
    loader.set_epoch(3)
    assert epoch_ids(loader) == epochs[3][2:]
    iterator = iter(loader)
    next(iterator)
    loader.set_epoch(5)
    assert epoch_ids(loader) == epochs[5]


def test_iterators_that_are_never_used_change_nothing():
    loader = batches()
    expected = epoch_ids(batches())
    for _ in range(3):
        iter(loader)
    assert epoch_ids(loader) == expected
    iter(loader)
    assert loader.epoch == 0


@pytest.mark.parametrize("stop", range(9))
def test_a_loaded_state_continues_bit_for_bit(stop):
    def endless(loader):
        while True:
            yield from loader

    whole = list(itertools.islice(endless(batches(augmentation="shift")), 12))
    first = batches(augmentation="shift")
    list(itertools.islice(endless(first), stop))
    second = batches(augmentation="shift")
    second.load_state_dict(first.state_dict())
    rest = list(itertools.islice(endless(second), 12 - stop))
    for (x, y), (expected_x, expected_y) in zip(rest, whole[stop:], strict=True):
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)


def test_state_is_plain_and_guards_against_another_run():
    loader = batches(augmentation="crop")
    next(iter(loader))
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (0, 1)
    assert all(isinstance(value, int | str) for value in state.values())
    for changes, text in [
        ({"batch_size": 4}, "batch_size = 5, not 4"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"augmentation": "none"}, "augmentation = 'crop', not 'none'"),
        ({"data": numbered(22)}, "images = 23, not 22"),
    ]:
        with pytest.raises(InputError, match=text):
            batches(**({"augmentation": "crop"} | changes)).load_state_dict(state)


@pytest.mark.parametrize("augmentation", list(AUGMENTATIONS))
def test_channels_last_changes_the_layout_only(augmentation):
    pairs = zip(
        batches(augmentation=augmentation),
        batches(augmentation=augmentation, channels_last=True),
        strict=True,
    )
    for (x, _), (last, _) in pairs:
        assert x.is_contiguous()
        assert last.is_contiguous(memory_format=torch.channels_last)
        assert not last.is_contiguous()
        assert torch.equal(x, last)


@pytest.mark.parametrize("batch_size", [0, -1, 24, 2.0, True, None])
def test_train_batch_size_out_of_range(batch_size):
    with pytest.raises(InputError, match=r"batch_size = .* Allowed: whole numbers 1\.\.23"):
        batches(batch_size=batch_size)


def test_train_batch_of_everything():
    loader = batches(batch_size=N)
    assert len(loader) == 1
    assert sorted(epoch_ids(loader)[0]) == list(range(N))


def test_train_unknown_augmentation():
    with pytest.raises(InputError, match="unknown augmentation 'corp'"):
        batches(augmentation="corp")


@pytest.mark.parametrize("batch_size", [1, 5, 23, 24, 100])
def test_eval_batches_are_all_images_in_order(batch_size):
    data = numbered()
    loader = EvalBatches(data, batch_size=batch_size)
    for _ in range(2):
        parts = list(loader)
        assert len(parts) == len(loader) == -(-N // batch_size)
        assert torch.cat([index for _, _, index in parts]).tolist() == list(range(N))
        for x, y, index in parts:
            assert x.dtype == torch.float32
            assert ids(x) == index.tolist()
            assert torch.equal(y, data.labels[index])
            assert len(x) == batch_size or index[-1] == N - 1


def test_eval_batches_of_nothing():
    loader = EvalBatches(numbered(0), batch_size=4)
    assert len(loader) == 0
    assert list(loader) == []


@pytest.mark.parametrize("batch_size", [0, -3, 1.5, False])
def test_eval_batch_size_out_of_range(batch_size):
    with pytest.raises(InputError, match=r"batch_size = .* whole numbers from 1"):
        EvalBatches(numbered(), batch_size=batch_size)
