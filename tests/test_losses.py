"""Every head against its formula, and what all heads promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.losses import HEADS, AMSoftmax, Focal, OCSoftmax, P2SGrad, WeightedCrossEntropy, create_head

EMBEDDING = 5
NAMES = sorted(HEADS)

cases = st.tuples(st.integers(1, 6), st.integers(0, 2**31 - 1))


def draw(case: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    batch, seed = case
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    embedding = 3 * torch.randn(batch, EMBEDDING, generator=generator)
    return embedding, torch.randint(0, 2, (batch,), generator=generator)


def unit(x: np.ndarray, axis: int) -> np.ndarray:
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def numpy_cosines(embedding: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    return unit(embedding.double().numpy(), 1) @ unit(weight.detach().double().numpy(), 0)


def numpy_log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1)[:, None]


@settings(max_examples=30, deadline=None)
@given(cases)
def test_weighted_cross_entropy_is_its_formula(case: tuple[int, int]) -> None:
    embedding, target = draw(case)
    head = WeightedCrossEntropy(EMBEDDING, weights=(0.1, 0.9))
    logits = head(embedding)
    weight, bias = head.linear.weight.detach().double().numpy(), head.linear.bias.detach().double().numpy()
    expected = embedding.double().numpy() @ weight.T + bias
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-5)
    log_p = numpy_log_softmax(expected)
    w = np.array([0.1, 0.9])[target.numpy()]
    loss = -(w * log_p[np.arange(len(w)), target.numpy()]).sum() / w.sum()
    assert head.loss(logits, target).item() == pytest.approx(loss, abs=1e-5)
    np.testing.assert_array_equal(head.score(logits).detach(), logits[:, 1].detach())


@settings(max_examples=20, deadline=None)
@given(cases)
def test_a_second_log_softmax_changes_nothing(case: tuple[int, int]) -> None:
    embedding, target = draw(case)
    plain = WeightedCrossEntropy(EMBEDDING, score_as="log-probability")
    twice = WeightedCrossEntropy(EMBEDDING, log_softmax=True, score_as="log-probability")
    twice.load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain.loss(plain(embedding), target), twice.loss(twice(embedding), target))
    torch.testing.assert_close(plain.score(plain(embedding)), twice.score(twice(embedding)))
    assert twice(embedding).exp().sum(1).allclose(torch.ones(len(target)))


@settings(max_examples=30, deadline=None)
@given(cases, st.floats(0.0, 5.0))
def test_focal_is_its_formula(case: tuple[int, int], gamma: float) -> None:
    embedding, target = draw(case)
    head = Focal(EMBEDDING, gamma=gamma, weights=(1.0, 4.0))
    logits = head(embedding)
    log_p = numpy_log_softmax(logits.detach().double().numpy())[np.arange(len(target)), target.numpy()]
    w = np.array([1.0, 4.0])[target.numpy()]
    loss = -(w * (1 - np.exp(log_p)) ** gamma * log_p).sum() / w.sum()
    assert head.loss(logits, target).item() == pytest.approx(loss, rel=1e-3, abs=1e-5)


def test_focal_without_discount_is_weighted_cross_entropy() -> None:
    embedding, target = draw((6, 1))
    focal, plain = Focal(EMBEDDING, gamma=0.0), WeightedCrossEntropy(EMBEDDING)
    plain.load_state_dict(focal.state_dict())
    torch.testing.assert_close(focal.loss(focal(embedding), target), plain.loss(plain(embedding), target))


@settings(max_examples=30, deadline=None)
@given(cases)
def test_p2sgrad_is_its_formula(case: tuple[int, int]) -> None:
    embedding, target = draw(case)
    head = P2SGrad(EMBEDDING)
    cosines = head(embedding)
    expected = numpy_cosines(embedding, head.weight)
    np.testing.assert_allclose(cosines.detach(), expected, atol=1e-5)
    loss = ((expected - np.eye(2)[target.numpy()]) ** 2).mean()
    assert head.loss(cosines, target).item() == pytest.approx(loss, abs=1e-5)
    np.testing.assert_array_equal(head.score(cosines).detach(), cosines[:, 1].detach())


@settings(max_examples=30, deadline=None)
@given(cases)
def test_am_softmax_is_its_formula(case: tuple[int, int]) -> None:
    embedding, target = draw(case)
    head = AMSoftmax(EMBEDDING, scale=20.0, margin=0.9)
    cosines = head(embedding)
    expected = numpy_cosines(embedding, head.weight)
    true, other = expected[np.arange(len(target)), target.numpy()], expected[np.arange(len(target)), 1 - target.numpy()]
    loss = np.log1p(np.exp(20 * other - 20 * (true - 0.9))).mean()
    assert head.loss(cosines, target).item() == pytest.approx(loss, rel=1e-4, abs=1e-4)
    published = np.exp(numpy_log_softmax(20 * expected))[:, 1]
    ours = head.score(cosines).detach().numpy()
    # Saturated probabilities tie in the published score; ours never contradict the order of the others.
    assert all(
        (ours[i] - ours[j]) * (published[i] - published[j]) >= -1e-9 for i in range(len(ours)) for j in range(len(ours))
    )


@settings(max_examples=30, deadline=None)
@given(cases)
def test_oc_softmax_is_its_formula(case: tuple[int, int]) -> None:
    embedding, target = draw(case)
    head = OCSoftmax(EMBEDDING)
    logits = head(embedding)
    centre = numpy_cosines(embedding, head.weight)[:, 0]
    np.testing.assert_allclose(logits.detach(), np.stack([-centre, centre], 1), atol=1e-5)
    # Eq. 4 with y = 0 for bona fide.
    y = 1 - target.numpy()
    margin = np.where(y == 0, 0.9, 0.2)
    loss = np.log1p(np.exp(20 * (margin - centre) * (-1.0) ** y)).mean()
    assert head.loss(logits, target).item() == pytest.approx(loss, rel=1e-4, abs=1e-4)
    np.testing.assert_array_equal(head.score(logits).detach(), logits[:, 1].detach())


@pytest.mark.parametrize("name", NAMES)
def test_every_head_learns_that_a_higher_score_is_bona_fide(name: str) -> None:
    torch.manual_seed(0)
    target = torch.arange(40) % 2
    embedding = torch.randn(40, EMBEDDING) + 3 * (2 * target.unsqueeze(1) - 1)
    head = create_head(name, EMBEDDING)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    first = head.loss(head(embedding), target).item()
    for _ in range(100):
        loss = head.loss(head(embedding), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = head(embedding)
    scores = head.score(logits)
    assert logits.shape == (40, 2)
    assert loss.item() < first
    assert scores[target == 1].min() > scores[target == 0].max()
    assert (logits.argmax(1) == target).all()


@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_finite_losses_and_gradients(name: str) -> None:
    head = create_head(name, EMBEDDING)
    embedding = torch.zeros(3, EMBEDDING, requires_grad=True)
    loss = head.loss(head(embedding), torch.tensor([0, 1, 1]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_extreme_embeddings_give_finite_losses_and_gradients(name: str) -> None:
    head = create_head(name, EMBEDDING)
    embedding = torch.tensor([[1e6] * EMBEDDING, [-1e6] * EMBEDDING], requires_grad=True)
    loss = head.loss(head(embedding), torch.tensor([1, 0]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


@pytest.mark.parametrize("name", ["p2sgrad", "am-softmax", "oc-softmax"])
def test_cosine_heads_ignore_the_length_of_the_embedding(name: str) -> None:
    head = create_head(name, EMBEDDING)
    embedding = torch.randn(4, EMBEDDING)
    torch.testing.assert_close(head(embedding), head(7.5 * embedding))


def test_the_class_weights_are_no_part_of_the_state() -> None:
    assert set(WeightedCrossEntropy(EMBEDDING).state_dict()) == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("p2s-grad", {}, "there is no loss 'p2s-grad'; did you mean 'p2sgrad'?"),
        ("focal", {"gama": 1.0}, "loss 'focal' has no option 'gama'; did you mean 'gamma'?"),
        ("focal", {"weights": (1.0, 0.0)}, "class weights are two positive numbers"),
        ("weighted-cross-entropy", {"weights": (1.0, 2.0, 3.0)}, "class weights are two positive numbers"),
    ],
)
def test_bad_options_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(NasError) as error:
        create_head(name, EMBEDDING, **options)
    assert message in str(error.value)
