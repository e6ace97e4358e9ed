from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import neoscope as ns
import probes
from neoscope.errors import ProbeError
from probes.erasure import Eraser, fit_leace
from probes.erasure.mean_projection import project_out
from tests.probes.erasure.cases import rows


def test_arrays_give_float64_and_tensors_their_own_type() -> None:
    X, y = rows("float32")
    eraser = fit_leace(X, y)
    exact = eraser(X)
    assert exact.dtype == np.float64
    for dtype, within in ((torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 0.2)):
        out = eraser(torch.as_tensor(X).to(dtype))
        assert out.dtype == dtype
        np.testing.assert_allclose(out.double().numpy(), exact, atol=within, rtol=0.02)
    assert eraser(X[0]).shape == (12,)
    assert eraser(X.reshape(6, 100, 12)).shape == (6, 100, 12)


def test_it_is_shown_in_one_line() -> None:
    assert repr(fit_leace(*rows())) == "Eraser(leace: rank 3 of 12 features)"


def test_gradients_flow_through() -> None:
    X, y = rows()
    x = torch.tensor(X, requires_grad=True)
    eraser = fit_leace(X, y)
    eraser(x)[:, 0].sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad[0].numpy(), eraser.matrix()[0], atol=1e-10)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    X, y = rows()
    eraser = fit_leace(X, y)
    assert eraser.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    with pytest.raises(ProbeError, match=r"a saved eraser: probes\.Eraser\.load reads it"):
        probes.load(tmp_path / "new" / "folder")
    back = Eraser.load(tmp_path / "new" / "folder")
    assert back.method == "leace"
    assert (back(X) == eraser(X)).all()
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["eraser.safetensors"]


def test_a_folder_without_an_eraser_or_with_half_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no eraser"):
        Eraser.load(tmp_path)
    X, y = rows()
    fit_leace(X, y).save(tmp_path)
    whole = (tmp_path / "eraser.safetensors").read_bytes()
    (tmp_path / "eraser.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProbeError, match="cannot read"):
        Eraser.load(tmp_path)
    (tmp_path / "eraser.safetensors").write_bytes(whole.replace(b"features", b"feathers", 1))
    with pytest.raises(ProbeError, match="damaged"):
        Eraser.load(tmp_path)


def test_another_width_is_refused() -> None:
    eraser = project_out([1.0, 2.0])
    with pytest.raises(ProbeError, match="2 features"):
        eraser(np.ones((3, 4)))
    with pytest.raises(ProbeError, match="2 features"):
        eraser(torch.ones(3, 4))


def test_directions_are_projected_out_whatever_their_length() -> None:
    eraser = project_out([[3.0, 0, 0], [6.0, 0, 0], [0, 1e-3, 0]], mean=[1.0, 1.0, 1.0])
    assert eraser.rank == 2
    np.testing.assert_allclose(eraser(np.array([[5.0, 6.0, 7.0]])), [[1.0, 1.0, 7.0]], atol=1e-12)
    with pytest.raises(ProbeError, match="all 0"):
        project_out([0.0, 0.0])


def test_an_edit_erases_in_a_running_model() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10)
    model = ns.HookedGPTNeo.from_config(config)
    ids = torch.arange(30).reshape(3, 10) % 10
    stream, heads = project_out(np.arange(1.0, 9.0)), project_out([1.0, 0, 0, 0])
    _, plain = model.run_with_cache(ids)
    edits = [stream.edit("resid_post", 0), heads.edit("z", 1, head=1)]
    _, cache = model.run_with_cache(ids, edits=edits)
    expected = stream(plain["resid_post", 0])
    torch.testing.assert_close(cache["resid_post", 0], expected)
    assert (cache["z", 1][:, :, 1, 0] == 0).all()
    assert (cache["z", 1][:, :, 0, 0] != 0).all()
    every = project_out(np.eye(8)[:1]).edit("z", 0)
    _, cache = model.run_with_cache(ids, edits=[every])
    assert (cache["z", 0][:, :, 0, 0] == 0).all()
    torch.testing.assert_close(cache["z", 0][:, :, 1], plain["z", 0][:, :, 1])
