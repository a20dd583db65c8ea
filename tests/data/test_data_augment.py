import numpy as np
import pytest
import torch
from scipy import ndimage

from rewire.data.augment import AUGMENTATIONS, crop, none, shift, whole_shift
from rewire.errors import InputError
from rewire.rng import generator

SHAPES = [(16, 3, 32, 32), (16, 1, 28, 28), (8, 2, 20, 11), (1, 3, 32, 32)]


def random_images(shape, seed=0):
    return torch.rand(shape, generator=generator(seed, "test images"))


def ramps(count, height=32, width=32):
    """Images whose two channels are the pixel's row and column, scaled into [0, 1]."""
    rows = torch.arange(height).view(1, height, 1).expand(1, height, width) / height
    columns = torch.arange(width).view(1, 1, width).expand(1, height, width) / width
    return torch.cat([rows, columns]).repeat(count, 1, 1, 1)


def drawn_shift(images, seed):
    """Each image's (down, right, flipped), read off ramps that get the same random numbers."""
    count, _, height, width = images.shape
    result = shift(ramps(count, height, width), generator=generator(seed, "test"))
    middle = result[:, :, height // 2, width // 2]
    flipped = result[:, 1, 0, -1] < result[:, 1, 0, 0]
    column = torch.where(flipped, width - 1 - width // 2, width // 2)
    down = middle[:, 0] * height - height // 2
    return down.tolist(), (middle[:, 1] * width - column).tolist(), flipped.tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_shift_equals_scipy_image_by_image(shape):
    images = random_images(shape)
    result = shift(images, generator=generator(3, "test"))
    for image, found, down, right, flipped in zip(
        images, result, *drawn_shift(images, 3), strict=True
    ):
        offset = (0, -down, -right)
        expected = ndimage.shift(image.double().numpy(), offset, order=1, mode="nearest")
        expected = expected[:, :, ::-1] if flipped else expected
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_shift_is_uniform_within_a_tenth_and_independent():
    down, right, flipped = map(np.array, drawn_shift(torch.empty(4000, 1, 32, 32), 0))
    for offset in (down, right):
        assert np.abs(offset).max() <= 3.2 + 1e-4
        assert np.abs(offset).max() > 3.19
        # Mean and standard deviation of U(-3.2, 3.2), within four standard errors.
        assert abs(offset.mean()) < 4 * 1.848 / 4000**0.5
        assert offset.std() == pytest.approx(3.2 / 3**0.5, abs=0.05)
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / 4000**0.5
    assert np.abs(np.corrcoef([down, right, flipped]) - np.eye(3)).max() < 4 / 4000**0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_shift_equals_a_slow_loop(shape):
    images = random_images(shape)
    count, _, height, width = shape
    far_y, far_x = height // 10, width // 10
    top, left, coin = torch.rand(3, count, generator=generator(3, "test"))
    expected = torch.empty(shape)
    for n in range(count):
        down = int(top[n] * (2 * far_y + 1)) - far_y
        right = int(left[n] * (2 * far_x + 1)) - far_x
        for y in range(height):
            for x in range(width):
                from_x = width - 1 - x if coin[n] < 0.5 else x
                row, column = (y + down, height), (from_x + right, width)
                row, column = (min(max(at, 0), size - 1) for at, size in (row, column))
                expected[n, :, y, x] = images[n, :, row, column]
    assert torch.equal(whole_shift(images, generator=generator(3, "test")), expected)


def test_whole_shift_keeps_images_as_sharp_as_they_are():
    """`shift` blurs: neighbouring pixels of noise differ less after it."""
    images = random_images((200, 3, 32, 32))

    def contrast(x):
        return x[:, :, 4:-4, 4:-4].diff(dim=3).square().mean()

    shifted = {f: contrast(f(images, generator=generator(1, "test"))) for f in (shift, whole_shift)}
    assert abs(shifted[whole_shift] / contrast(images) - 1) < 0.02
    assert shifted[shift] < 0.6 * contrast(images)


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_equals_a_slow_loop(shape):
    images = random_images(shape)
    count, channels, height, width = shape
    top, left, coin = torch.rand(3, count, generator=generator(3, "test"))
    result = crop(images, generator=generator(3, "test"))
    expected = torch.zeros(shape)
    for n in range(count):
        down, right = int(top[n] * 9) - 4, int(left[n] * 9) - 4
        for y in range(height):
            for x in range(width):
                from_x = width - 1 - x if coin[n] < 0.5 else x
                if 0 <= y + down < height and 0 <= from_x + right < width:
                    expected[n, :, y, x] = images[n, :, y + down, from_x + right]
    assert channels == result.shape[1]
    assert torch.equal(result, expected)


def test_crop_uses_all_81_places_evenly_and_flips_half():
    images = torch.zeros(20_000, 1, 9, 9)
    images[:, :, 4, 4] = 1
    place = crop(images, generator=generator(0, "test")).flatten(1).argmax(1)
    counts = torch.bincount(place, minlength=81)
    expected = 20_000 / 81
    assert len(counts) == 81
    # Chi-squared with 80 degrees of freedom: 99.99 % are below 137.
    assert ((counts - expected) ** 2 / expected).sum() < 137
    edges = torch.zeros(4000, 1, 32, 32)
    edges[:, :, :, :8] = 1
    mass_left = crop(edges, generator=generator(1, "test"))[:, 0, 16, :16].sum(1) > 0
    assert abs(mass_left.float().mean() - 0.5) < 4 * 0.5 / 4000**0.5


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
@pytest.mark.parametrize("shape", SHAPES)
def test_every_augmentation_keeps_its_contract(name, shape):
    images = random_images(shape)
    images[0] = images[0].round()
    source = images.clone()
    state = torch.get_rng_state()
    result = AUGMENTATIONS[name](images, generator=generator(1, "test"))
    again = AUGMENTATIONS[name](images, generator=generator(1, "test"))
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(result, again)
    assert torch.equal(images, source)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["shift", "whole_shift", "crop"])
def test_random_augmentations_follow_the_generator(name):
    images = random_images((16, 3, 32, 32))
    results = [AUGMENTATIONS[name](images, generator=generator(s, "test")) for s in (1, 2)]
    assert not torch.equal(*results)
    same = images[:1].repeat(16, 1, 1, 1)
    result = AUGMENTATIONS[name](same, generator=generator(1, "test"))
    assert len({image.numpy().tobytes() for image in result}) > 12


def test_shift_keeps_constant_images_exactly():
    images = torch.full((8, 3, 32, 32), 0.3)
    assert torch.equal(shift(images, generator=generator(0, "test")), images)


def test_none_gives_the_images_back():
    images = random_images((4, 3, 32, 32))
    assert none(images, generator=generator(0, "test")) is images


def test_unknown_augmentation_names_the_choices():
    with pytest.raises(InputError, match=r"'shfit'\. Did you mean 'shift'\? Allowed: crop, none"):
        AUGMENTATIONS["shfit"]
