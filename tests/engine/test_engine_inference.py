"""Trained networks as functions, for any number of images, against their modules in float64."""

from __future__ import annotations

import copy
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.toys_bodies import CLASSES, Body, Stage, chain, exact_logits, network
from helpers.toys_engine import modules, relative, seeded
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from rewire.engine import Inference
from rewire.engine.inference import SINGLY, TOGETHER
from rewire.engine.network import use_engine
from rewire.engine.program import Program
from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.sparse import SparseLinear

BATCHES = (0, 1, 2, 3, 17)
IMAGE = (3, 8, 8)
SUMS = [how for how in vars(Body) if how.startswith("sum_of")]


def images(count, shape=IMAGE, *, seed=0):
    return torch.rand(count, *shape, generator=seeded(seed))


def assert_exact(model, shape=IMAGE, *, batches=BATCHES, error=3e-6):
    """Logits of batches of all sizes are those of float64, but for rounding."""
    infer = Inference(model)
    for count in batches:
        x = images(count, shape)
        logits = infer(x)
        assert logits.dtype == torch.float32
        assert logits.shape == (count, CLASSES)
        assert relative(logits, exact_logits(model, x)) < error, count
    return infer


def runs_in_one_call(infer, shape=IMAGE):
    """Whether images alone and in blocks have a program of their own."""
    alone, in_blocks = (infer._program(shape, held) is not None for held in (1, TOGETHER))
    assert alone == in_blocks
    return alone


stages = st.builds(
    Stage,
    channels=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    pool=st.booleans(),
)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    stages=st.lists(stages, min_size=1, max_size=3),
    image=st.tuples(st.integers(1, 4), st.integers(1, 13), st.integers(1, 13)),
    density=st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0),
    last=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_chain_of_layers_gives_the_exact_logits(build, stages, image, density, last, seed):
    height, width = image[1:]
    for stage in stages:
        height, width = stage.size(height), stage.size(width)
        assume(height > 0 and width > 0)
    model = network(chain(stages, image, last=last), density=density, seed=seed)
    assert runs_in_one_call(assert_exact(model, image), image)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool", [False, True])
def test_layers_of_unlike_padding_read_their_own_maps_only(build, kernel, stride, padding, pool):
    """The border of all maps is as wide as the widest padding, here of the first layer."""
    stages = [Stage(padding=2), Stage(kernel=kernel, stride=stride, padding=padding, pool=pool)]
    assert runs_in_one_call(assert_exact(network(chain(stages, IMAGE))))
    stages = [Stage(kernel=kernel, stride=stride, padding=padding, pool=pool)]
    assert runs_in_one_call(assert_exact(network(chain(stages, IMAGE))))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_whatever_follows_a_convolution_is_computed(build, norm, relu, pool):
    stages = [Stage(norm=norm, relu=relu, pool=pool), Stage()]
    assert_exact(network(chain(stages, IMAGE)))


@pytest.mark.parametrize("size", [1, 2, 4, 7, 16, 32])
def test_maps_of_every_width_of_a_vector_give_the_exact_logits(build, size):
    """Short rows are summed in several turns, long ones in chunks."""
    stages = [Stage(channels=20), Stage(channels=12), Stage(channels=9, kernel=1, padding=0)]
    image = (3, size, size)
    assert runs_in_one_call(assert_exact(network(chain(stages, image)), image), image)


NOT_A_NUMBER = [
    (Stage(pool=pool, norm=norm, relu=relu), Stage(stride=stride))
    for pool in (False, True)
    for norm in (False, True)
    for relu in (False, True)
    for stride in (1, 2)
]


@pytest.mark.parametrize("stages", NOT_A_NUMBER, ids=str)
def test_what_is_not_a_number_is_none_behind_relu_and_pool_either(build, stages):
    model = network(chain(list(stages), IMAGE), density=1.0).eval()
    infer, engine = Inference(model), use_engine(copy.deepcopy(model))
    for pixel, count in itertools.product(range(4), (1, 2, 17, 33)):
        x = images(count)
        x[count // 2, :, 4 + pixel // 2, 4 + pixel % 2] = float("nan")
        expected = model(x).isnan()
        assert expected[count // 2].all()
        assert expected.sum() == CLASSES
        assert torch.equal(infer(x).isnan(), expected)
        for low in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                assert torch.equal(engine(x).isnan(), expected)


@pytest.mark.parametrize("how", [how for how in SUMS if "not_fit" not in how])
def test_sums_keep_what_is_not_a_number(build, how):
    model = network(Body(how), density=1.0).eval()
    x = images(17)
    x[5] = float("nan")
    assert torch.equal(Inference(model)(x).isnan().any(1).nonzero()[:, 0], torch.tensor([5]))
    assert Inference(model)(x[5:6]).isnan().all()


def test_autocast_around_changes_nothing(build):
    ordinary = nn.utils.skip_init(nn.Linear, CLASSES, CLASSES)
    nn.init.normal_(ordinary.weight, generator=seeded(0))
    nn.init.zeros_(ordinary.bias)
    infer = Inference(network(nn.Sequential(*chain([Stage()], IMAGE), ordinary)))
    x = images(17)
    assert not runs_in_one_call(infer)
    with torch.autocast("cpu", torch.bfloat16):
        inside = infer(x)
    assert torch.equal(inside, infer(x))


def test_images_that_lie_elsewhere_are_refused(build):
    model = network(chain([Stage()], IMAGE)).eval()
    with pytest.raises(InputError, match="on meta"):
        Inference(model)(images(17).to("meta"))
    with pytest.raises(InputError, match="images on meta"):
        use_engine(model)(images(17).to("meta"))


def test_maps_beyond_the_indices_are_refused(build):
    model = network(chain([Stage(channels=64)], (3, 8, 8)))
    infer = Inference(model)
    with pytest.raises(InputError, match="larger than the sparse engine's indices"):
        infer(torch.zeros(1, 1, 1, 1).expand(1, 3, 2048, 2048))


def test_no_images_have_no_logits(build):
    assert Inference(network(chain([Stage()], IMAGE)))(images(0)).shape == (0, CLASSES)


def test_images_give_the_same_bits_alone_and_in_company_of_few(build):
    infer, x = Inference(network(chain([Stage(), Stage(pool=True)], IMAGE))), images(4)
    together = infer(x)
    assert torch.equal(together, torch.cat([infer(image[None]) for image in x]))
    transposed = x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
    assert torch.equal(infer(transposed), together)


def test_more_images_than_maps_hold_go_in_turns_of_the_same_bits(build):
    model = network(chain([Stage(channels=20), Stage(pool=True)], IMAGE))
    infer = assert_exact(model, batches=(TOGETHER - 1, TOGETHER, TOGETHER + 1, 2 * TOGETHER + 17))
    x = images(2 * TOGETHER + 17)
    parts = x.split(29)
    assert min(map(len, parts)) > SINGLY
    assert torch.equal(infer(x), torch.cat([infer(part) for part in parts]))


# Bodies with branches.


@pytest.mark.parametrize("how", [how for how in SUMS if "do_not_fit" not in how])
def test_sums_of_activations_are_the_exact_ones_whatever_their_shapes(build, how):
    infer = assert_exact(network(Body(how)))
    assert runs_in_one_call(infer) == ("pixel" not in how)


def test_an_activation_may_be_added_to_itself(build):
    assert runs_in_one_call(assert_exact(network(Body("sum_with_itself"))))


@pytest.mark.parametrize("how", ["sum_of_pixel_and_maps", "sum_of_maps_and_pixel"])
@pytest.mark.parametrize("held", [1, 16])
def test_summands_of_different_shapes_are_refused_by_their_shapes(build, how, held):
    infer = Inference(network(Body(how)))
    geometry = infer._plan.geometry(IMAGE, torch.float32)
    with pytest.raises(NotImplementedError, match=r"\(6, [18], [18]\) and \(6, [18], [18]\)"):
        Program(infer._plan, IMAGE, geometry, infer._index, infer._shifts, held=held)


@pytest.mark.parametrize("count", BATCHES[1:])
def test_summands_that_do_not_fit_are_an_error(build, count):
    infer = Inference(network(Body("sum_of_sizes_that_do_not_fit")))
    with pytest.raises(RuntimeError, match="must match"):
        infer(images(count))


def test_a_convolution_of_single_pixels_reads_the_border_of_its_maps(build):
    """It looks like a dense layer, whose vectors have none."""
    assert runs_in_one_call(assert_exact(network(Body("one_pixel"))))


@pytest.mark.parametrize(
    "how", ["norm_of_the_images", "norm_behind_an_ordinary_layer", "used_twice", "pool_alone"]
)
def test_what_has_no_form_in_a_program_is_computed_step_by_step(build, how):
    assert not runs_in_one_call(assert_exact(network(Body(how))))


def test_a_layer_used_for_maps_of_two_sizes_is_refused(build):
    model = network(Body("used_for_two_sizes"))
    for call in (use_engine(copy.deepcopy(model)), Inference(model)):
        with pytest.raises(InputError, match=r"layer 4 is used for maps of several.*\(4, 4\)"):
            call(images(2))


@pytest.mark.parametrize("count", BATCHES)
@pytest.mark.parametrize(
    ("size", "stage"), [(2, Stage(padding=0)), (1, Stage(kernel=5, padding=1))], ids=str
)
def test_a_kernel_that_is_larger_than_its_maps_is_refused(build, count, size, stage):
    model = network(chain([stage], IMAGE))
    expected = f"maps of 8 × {size} .*border of {stage.padding} .*kernel of {stage.kernel} × "
    for call in (use_engine(copy.deepcopy(model)), Inference(model)):
        with pytest.raises(InputError, match=expected):
            call(images(count, (3, 8, size)))


# Whatever becomes of the network later.


def everything_changed(model):
    model.train()
    for norm in modules(model, nn.BatchNorm2d):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.add_(1)
    for linear in modules(model, SparseLinear):
        linear.bias.data.add_(1)
    model.theta.data.mul_(2)
    model.sign.neg_()


@pytest.mark.parametrize("how", ["sum_of_maps", "norm_of_the_images", "sum_of_vectors"])
def test_later_changes_of_the_network_do_not_reach_its_function(build, how):
    model = network(Body(how))
    early, late = Inference(model), Inference(model)
    x = [images(count) for count in BATCHES]
    expected = [early(each) for each in x]
    everything_changed(model)
    for each, right in zip(x, expected, strict=True):
        assert torch.equal(early(each), right)
        assert torch.equal(late(each), right)  # which computes for the first time


def test_the_network_is_not_changed_by_its_function(build):
    model = network(Body("norm_behind_an_ordinary_layer")).train()
    model.body.norm.eval()
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    for count in BATCHES:
        Inference(model)(images(count))
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_a_network_in_training_mode_and_in_double_precision_gives_the_same_function(build):
    model, x = network(Body("norm_of_the_images")), images(3)
    expected = Inference(model)(x)
    assert torch.equal(Inference(model.train())(x), expected)
    assert torch.equal(Inference(model.double())(x), expected)


def test_a_network_whose_weights_are_lent_at_the_moment_can_be_made_a_function(build):
    model, x = network(chain([Stage()], IMAGE)), images(3)
    expected = Inference(model)(x)
    with model.materialised():
        assert torch.equal(Inference(model)(x), expected)


def test_several_threads_may_call_one_function(build):
    infer, x = Inference(network(chain([Stage(channels=40), Stage()], IMAGE))), images(60)
    expected = [infer(image[None]) for image in x]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda image: infer(image[None]), x))
    assert all(torch.equal(*pair) for pair in zip(given, expected, strict=True))


@pytest.mark.parametrize("count", [1, 4, 17, 3 * TOGETHER + 5])
def test_any_number_of_threads_gives_the_same_bits(build, count):
    """Also of threads that are others than when the program was made."""
    model = build_model("vgg11", sparsity=0.95, seed=0, width=0.5).eval()  # large enough to share
    x = images(count, (3, 32, 32))
    before, found = torch.get_num_threads(), []
    try:
        for made, used in ((1, 1), (2, 2), (3, 3), (2, 1), (1, 2), (3, 2)):
            torch.set_num_threads(made)
            infer = Inference(model)
            infer(x[:1]), infer(x)
            torch.set_num_threads(used)
            found.append(infer(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert relative(found[0], exact_logits(model, x)) < 1e-5
