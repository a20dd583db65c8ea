import hashlib
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.data.checks import check_count
from rewire.data.images import ImageSet, as_float
from rewire.data.split import balanced_order, first_balanced, split_validation
from rewire.errors import InputError


def make_set(labels, *, shape=(1, 4, 4)):
    labels = torch.as_tensor(labels, dtype=torch.int64)
    images = torch.arange(len(labels) * 16).remainder(256).to(torch.uint8).reshape(-1, *shape)
    return ImageSet(images, labels, torch.arange(len(labels)) + 100)


def slow_balanced_order(labels):
    """Deal the images of each class out in rounds, with plain lists."""
    queues = {c: [i for i, label in enumerate(labels) if label == c] for c in set(labels)}
    order = []
    while any(queues.values()):
        order += sorted(queue.pop(0) for queue in queues.values() if queue)
    return order


def test_images_length_and_take():
    data = make_set([3, 1, 4, 1, 5])
    taken = data.take(torch.tensor([4, 0, 0]))
    assert len(data) == 5
    assert len(taken) == 3
    assert taken.labels.tolist() == [5, 3, 3]
    assert taken.indices.tolist() == [104, 100, 100]
    assert torch.equal(taken.images, torch.stack([data.images[i] for i in (4, 0, 0)]))


def test_images_to_keeps_everything_and_moves():
    data = make_set([0, 1])
    same = data.to("cpu")
    assert same.images.data_ptr() == data.images.data_ptr()
    moved = data.to("meta")
    tensors = (moved.images, moved.labels, moved.indices)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_images_refuse_parts_that_do_not_fit():
    data = make_set([0, 1])
    with pytest.raises(AssertionError):
        ImageSet(data.images, data.labels[:1], data.indices)
    with pytest.raises(AssertionError):
        ImageSet(data.images.float(), data.labels, data.indices)


def test_as_float_is_exact_for_every_byte():
    values = as_float(torch.arange(256, dtype=torch.uint8))
    expected = torch.tensor([n / 255 for n in range(256)], dtype=torch.float32)
    assert values.dtype == torch.float32
    assert torch.equal(values, expected)


def test_as_float_leaves_float_input_alone():
    source = torch.full((2, 1, 4, 4), 255.0)
    assert torch.equal(as_float(source), torch.ones(2, 1, 4, 4))
    assert source.max() == 255


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40))
def test_balanced_order_deals_the_classes_out_in_rounds(labels):
    order = balanced_order(torch.tensor(labels, dtype=torch.int64))
    assert order.tolist() == slow_balanced_order(labels)


def test_first_balanced_takes_the_first_of_each_class_in_data_order():
    chosen = first_balanced(make_set([0, 0, 0, 1, 0, 1, 2, 2, 1]), 6)
    assert (chosen.indices - 100).tolist() == [0, 1, 3, 5, 6, 7]


def test_first_balanced_sets_are_nested():
    data = make_set([0, 0, 0, 1, 0, 1, 2, 2, 1])
    sets = [set(first_balanced(data, n).indices.tolist()) for n in range(10)]
    assert [len(chosen) for chosen in sets] == list(range(10))
    assert all(small < large for small, large in itertools.pairwise(sets))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_split_is_disjoint_complete_and_balanced(labels, draw):
    size = draw.draw(st.integers(0, len(labels) - 1))
    data = make_set(labels)
    train, validation = split_validation(data, size=size, seed=5)
    assert len(validation) == size
    assert sorted(train.indices.tolist() + validation.indices.tolist()) == data.indices.tolist()
    assert train.indices.tolist() == sorted(train.indices.tolist())
    for part in (train, validation):
        assert torch.equal(part.images, data.images[part.indices - 100])
        assert torch.equal(part.labels, data.labels[part.indices - 100])
    held = torch.bincount(validation.labels, minlength=5)
    left = torch.bincount(train.labels, minlength=5)
    # A class has fewer held-out images than the fullest one (less one) only if it ran out.
    assert all(h >= held.max() - 1 for h, rest in zip(held, left, strict=True) if rest > 0)


def test_split_is_a_fixed_function_of_its_seed():
    data = make_set(list(range(10)) * 30)
    first, again, other = (split_validation(data, size=100, seed=s)[1] for s in (0, 0, 1))
    assert torch.equal(first.indices, again.indices)
    assert not torch.equal(first.indices, other.indices)
    assert torch.bincount(first.labels).tolist() == [10] * 10
    default = split_validation(data, size=100)[1]
    assert torch.equal(default.indices, first.indices)


def test_split_does_not_touch_or_use_the_global_random_state():
    data = make_set(list(range(10)) * 30)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = split_validation(data, size=50)[1]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(split_validation(data, size=50)[1].indices, first.indices)


def test_default_split_stays_the_same_between_versions():
    validation = split_validation(make_set(list(range(10)) * 30), size=100)[1]
    digest = hashlib.sha256(str(validation.indices.tolist()).encode()).hexdigest()
    assert digest[:16] == "a1ba2fcb5eeaff98"


@pytest.mark.parametrize("size", [-1, 6, 7, 2.0, True, None, "2"])
def test_split_refuses_bad_sizes(size):
    with pytest.raises(InputError, match=r"data\.validation_size = .* Allowed: .* 0\.\.5"):
        split_validation(make_set([0, 1, 0, 1, 0, 1]), size=size)


def test_check_count_without_upper_limit():
    assert check_count("n", 10**9, low=1) == 10**9
    with pytest.raises(InputError, match=r"n = 0 .* from 1"):
        check_count("n", 0, low=1)
