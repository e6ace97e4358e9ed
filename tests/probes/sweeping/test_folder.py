"""A sweep that is kept goes on where it ended, and is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.neighbors import KNeighborsClassifier

import neoscope as ns
import probes
from neoscope import organism
from neoscope.errors import ProbeError
from probes.sweeping import work
from tests.probes.sweeping.cases import planted


def test_a_sweep_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = planted(300), tmp_path / "sweep"
    options: dict[str, Any] = {"mdl": True, "n_bootstrap": 10, "cv": 2}
    whole = probes.sweep(data, **options)
    judge, seen = work.judge, []

    def interrupted(*given: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return judge(*given)

    monkeypatch.setattr(work, "judge", interrupted)
    with pytest.warns(UserWarning, match="1 of 3 places"):
        part = probes.sweep(data, folder=folder, **options)
    assert not part.complete and len(part.places) == 1

    seen.clear()
    monkeypatch.setattr(work, "judge", lambda *given: (seen.append(1), judge(*given))[1])
    rest = probes.sweep(data, folder=folder, **options)
    assert len(seen) == 4  # two places with a control each
    assert rest.complete
    with pytest.raises(ProbeError, match=r"a saved sweep: probes\.SweepResult\.load reads it"):
        probes.load(folder)
    assert rest.save(tmp_path / "again") == tmp_path / "again"
    read = probes.SweepResult.load(folder)
    assert read.to_dataframe().equals(rest.to_dataframe()) and read.notes == rest.notes
    assert read.best().card_ == rest.best().card_
    assert rest.to_dataframe().equals(whole.to_dataframe())
    place = data.places[0]
    assert rest.probe(place).coef_.tobytes() == whole.probe(place).coef_.tobytes()
    assert rest.probe(place).card_ == whole.probe(place).card_


def test_the_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    data, folder = planted(300), tmp_path / "sweep"
    probes.sweep(data, n_bootstrap=10, controls=False, folder=folder)
    with pytest.raises(ProbeError, match=r"holds another sweep.*seed: the folder has 0, now 1"):
        probes.sweep(data, n_bootstrap=10, controls=False, folder=folder, seed=1)
    features = {place: data.matrix(place) for place in data.places}
    features[data.places[1]][57, 3] += 1
    other = probes.ProbeData(features, data.y, data.groups, types=data.types, label="upos")
    with pytest.raises(ProbeError, match="resid_post 1 was made of other features"):
        probes.sweep(other, n_bootstrap=10, controls=False, folder=folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ProbeError, match="something else"):
        probes.sweep(data, folder=tmp_path / "other")
    result = folder / "resid_post_0" / "result.json"
    result.write_text(json.dumps({"place": 1}))
    with pytest.raises(ProbeError, match="is damaged"):
        probes.sweep(data, n_bootstrap=10, controls=False, folder=folder)


@pytest.mark.parametrize("inside", ["", "x", "x/y"])
def test_a_folder_that_cannot_be_is_named(inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ProbeError, match=r"cannot write .*file|file holds something else"):
        probes.sweep(planted(200), n_bootstrap=10, folder=tmp_path / "file" / inside)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    data = planted(200)
    first = probes.sweep(data, layers=[1], n_bootstrap=10, folder=tmp_path, controls=False)
    assert first.complete
    (tmp_path / "resid_post_2").write_text("mine")
    with pytest.raises(ProbeError, match=r"cannot write .*resid_post_2"):
        probes.sweep(data, layers=[1, 2], n_bootstrap=10, folder=tmp_path, controls=False)


@pytest.mark.slow
def test_a_probe_that_cannot_be_kept_is_refused_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="KNeighborsClassifier cannot be kept"):
        probes.sweep(planted(300), KNeighborsClassifier(), folder=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_what_a_killed_run_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    data, folder = planted(300), tmp_path / "sweep"
    folder.mkdir()
    left = folder / ".sweep.json.x1.tmp"
    left.write_text("{")
    for _ in range(2):
        probes.sweep(data, n_bootstrap=10, controls=False, folder=folder)
    assert not left.exists()


def test_a_folder_grows_by_layers(tmp_path: Path) -> None:
    data = planted()
    first = probes.sweep(data, layers=[1], n_bootstrap=10, folder=tmp_path, controls=False)
    both = probes.sweep(data, layers=[1, 2], n_bootstrap=10, folder=tmp_path, controls=False)
    assert both.places[0].task == first.places[0].task
    assert len(both.places) == 2


def test_what_was_finished_is_never_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = organism.sentences("agreement", 60, seed=3)
    texts, labels = [one.prompt for one in sentences], [one.answer for one in sentences]
    data = probes.ProbeData.from_texts(
        ns.load("organism"), texts, labels, pool="last", layers=[0, 3]
    )
    options: dict[str, Any] = {"n_bootstrap": 5, "cv": 2, "folder": tmp_path / "sweep"}
    first = probes.sweep(data, **options)
    assert set(first.baselines) == {"majority", "embeddings"}
    monkeypatch.setattr(work, "judge", None)
    monkeypatch.setattr(type(data.model), "from_config", None)  # the random twin
    again = probes.sweep(data, **options)
    assert again.to_dataframe().equals(first.to_dataframe())
    assert again.notes == first.notes


def test_a_sweep_that_was_saved_comes_back_equal(tmp_path: Path) -> None:
    data = planted(200)
    found = probes.sweep(data, layers=[0, 2], n_bootstrap=10, cv=2, mdl=True)
    found.save(tmp_path / "sweep")
    read = probes.SweepResult.load(tmp_path / "sweep")
    assert str(read) == str(found) and read.places == found.places
    assert (read.baselines, read.source, read.notes) == (
        found.baselines, found.source, found.notes,
    )  # fmt: skip
    X = data.matrix(data.places[2])
    assert (read.best().predict_proba(X) == found.best().predict_proba(X)).all()
    (tmp_path / "sweep" / "result.json").write_text("{}")
    with pytest.raises(ProbeError, match=r"is no neoscope\.sweep"):
        probes.SweepResult.load(tmp_path / "sweep")
