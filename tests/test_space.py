"""Search spaces: every primitive does what a search needs of it, and one that does not is refused at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.primitive_checks import check_primitives
from nas.space import CellTopology, Computed, Identity, Linear, Pool, Primitive, SearchSpace, Zero, get_space, register


@pytest.mark.parametrize("name", ["raw_waveform", "tiny"])
def test_the_primitives_of_the_packaged_spaces_pass_their_battery(name: str) -> None:
    check_primitives(get_space(name).primitives)


class Module(nn.Module):
    """A primitive made of a function, with weights that depend on the channels."""

    def __init__(self, function, channels: int) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv, x)


def space_of(function) -> SearchSpace:
    computed = Computed("mine", build=lambda channels, affine: Module(function, channels))
    return SearchSpace("bad", (Zero("none"), Identity("skip_connect"), computed), CellTopology(intermediate=2))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda conv, x: conv(x)[:, :, 1:], r"makes \[B, C, T\] into \[B, C, T - 1\]"),
        (lambda conv, x: torch.cat([conv(x)] * 2, 1), r"into \[B, C \+ 2, T\]"),
        (lambda conv, x: conv(x)[:, 0], r"into \[2, 32\]"),
        (lambda conv, x: conv(x).mean(2, keepdim=True), r"T - 31\]"),
        (lambda conv, x: x.relu_(), "changes its input in place"),
        (lambda conv, x: conv(x.mul_(1.0)), "changes its input in place"),
        (lambda conv, x: conv(x) + x.detach().add_(1), "changes its input in place"),
        (lambda conv, x: conv(x).double(), "float64 for torch.float32"),
        (lambda conv, x: (conv(x),), "gives a tuple"),
        (lambda conv, x: conv(x) / 0, "not finite"),
        (lambda conv, x: x / x.std(2, keepdim=True, correction=0), r"\[2, 2, 1\] gives values that are not finite"),
        (lambda conv, x: nn.functional.pad(conv(x), (2, 0), mode="reflect")[:, :, 2:], r"\[2, 2, 2\] fails"),
        (lambda conv, x: conv(x).sigmoid().square_(), "cannot be differentiated"),
        (lambda conv, x: conv.missing(x), "AttributeError"),
    ],
)
def test_a_primitive_that_would_spoil_a_search_is_refused_with_what_it_did(function, words: str) -> None:
    with pytest.raises(NasError, match=f"primitive mine .*{words}") as caught:
        register(space_of(function))
    assert "\n" not in str(caught.value)
    with pytest.raises(NasError, match="no search space 'bad'"):
        get_space("bad")


def test_a_check_leaves_the_random_state() -> None:
    torch.manual_seed(5)
    register(SearchSpace("good", space_of(lambda conv, x: conv(x)).primitives))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_a_primitive_may_refuse_some_channels_but_not_all() -> None:
    grouped = Computed("grouped", build=lambda channels, affine: nn.Conv1d(channels, channels, 1, groups=8))
    register(SearchSpace("grouped", (Identity("skip_connect"), grouped)))
    with pytest.raises(NasError, match="primitive grouped cannot be built for 12 channels: ValueError"):
        grouped.operation(12)
    with pytest.raises(NasError, match="primitive never cannot be built"):
        register(SearchSpace("never", (Computed("never", build=lambda channels, affine: 1 / 0),)))
    with pytest.raises(NasError, match="build makes a int"):
        register(SearchSpace("number", (Computed("number", build=lambda channels, affine: 3),)))
    with pytest.raises(NasError, match=r"primitive bare cannot be built: .* use one of the kinds"):
        register(SearchSpace("bare", (Primitive("bare"),)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linear("std_conv_4", kernel=4), "primitive std_conv_4: the kernel must be odd.* use 3 or 5"),
        (lambda: Pool("max_pool_2", kind="max", kernel=2), "primitive max_pool_2: the kernel must be odd"),
        (lambda: Linear("a", kernel=0), "from 1, not 0"),
        (lambda: Linear("a", kernel=-3), "from 1, not -3"),
        (lambda: Linear("a", kernel=3.0), "from 1, not 3.0"),
        (lambda: Linear("a", kernel=3, dilation=0), "dilation"),
        (lambda: Pool("a", kind="mean", kernel=3), "'max' or 'average', not 'mean'"),
        (lambda: Identity(""), "name"),
        (lambda: Identity("\ud800"), "name"),
    ],
)
def test_a_primitive_that_cannot_keep_the_length_is_refused_when_it_is_made(make, words: str) -> None:
    with pytest.raises(NasError, match=words):
        make()


def test_a_space_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(NasError, match=r"did you mean 'raw_waveform'.*--space-file"):
        get_space("raw_wavefrom")
