from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import probes
from neoscope.errors import ProbeError


@pytest.mark.parametrize("k", [2, 4])
def test_torch_module_says_what_the_probe_says(k: int) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 5)), rng.integers(0, k, 60)
    probe = probes.LogisticProbe().fit(X, y)
    module = probe.as_torch()
    with torch.no_grad():
        said = module(torch.as_tensor(X, dtype=torch.float32).view(6, 10, 5))
    assert said.shape == (6, 10, 1 if k == 2 else k)
    expected = probe.decision_function(X).reshape(60, -1)
    np.testing.assert_allclose(said.view(60, -1).numpy(), expected, atol=1e-5)
    assert not any(weight.requires_grad for weight in module.parameters())


def test_gradients_flow_through_the_torch_module() -> None:
    rng = np.random.default_rng(0)
    probe = probes.RidgeProbe().fit(rng.normal(size=(30, 5)), rng.normal(size=30))
    x = torch.zeros(5, requires_grad=True)
    probe.as_torch()(x).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), probe.coef_, atol=1e-6)


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 7], [False, True]])
def test_classes_come_back_as_they_went_in(labels: list[Any]) -> None:
    X = np.array([[-1.0], [-0.9], [1.0], [1.1]])
    y = np.array([labels[0], labels[0], labels[1], labels[1]])
    probe = probes.LogisticProbe().fit(X, y)
    assert probe.predict(X).dtype == y.dtype
    assert probe.predict(X).tolist() == y.tolist()


def test_probabilities_are_the_exponents_of_their_logarithms() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 4))
    for y in (rng.integers(0, 2, 80), rng.integers(0, 3, 80), rng.integers(0, 2, (80, 3))):
        probe = probes.LogisticProbe().fit(X, y)
        np.testing.assert_allclose(
            np.exp(probe.predict_log_proba(X)), probe.predict_proba(X), atol=1e-12
        )


@pytest.mark.gpu
def test_cuda_gives_the_same_coefficients() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 20)), rng.integers(0, 3, 500)
    here, there = probes.LogisticProbe().fit(X, y), probes.LogisticProbe(device="cuda").fit(X, y)
    np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-8)
    number = probes.RidgeProbe(device="cuda").fit(X, X[:, 0])
    np.testing.assert_allclose(number.coef_, probes.RidgeProbe().fit(X, X[:, 0]).coef_, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tol": -1.0}, "tol must be a number above 0"),
        ({"max_iter": 0}, "max_iter must be a whole number from 1 on"),
        ({"device": "abacus"}, "device='abacus' is no device"),
    ],
)
def test_arguments_that_mean_nothing_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        probes.LogisticProbe(**options).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named() -> None:
    for probe in (probes.LogisticProbe(device="cuda"), probes.RidgeProbe(device="cuda")):
        with pytest.raises(ProbeError, match="sees no CUDA device"):
            probe.fit([[0.0], [1.0]], [0, 1])
