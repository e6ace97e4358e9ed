from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neoscope as ns
from neoscope.errors import ProbeError
from probes.data.dataset import ProbeData
from probes.data.places import Place
from probes.reading.conllu import parse_conllu, read_conllu

TEXT = """\
# newdoc id = d1
# sent_id = s1
# text = Mary  won't go.
1\tMary\tMary\tPROPN\tNNP\tNumber=Sing\t4\tnsubj\t4:nsubj\t_
2-3\twon't\t_\t_\t_\t_\t_\t_\t_\t_
2\two\twill\tAUX\tMD\tMood=Ind|Tense=Pres\t4\taux\t4:aux\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t4:advmod\t_
4\tgo\tgo\tVERB\tVB\tVerbForm=Inf\t0\troot\t0:root\tSpaceAfter=No
4.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t4:punct\tSpaceAfter=No

# newdoc id = d2
# sent_id = s2
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_
2\tle\tle\tDET\t_\t_\t3\tdet\t_\t_
3\t_\t_\tSYM\t_\tNumber=Plur\t0\troot\t_\t_
"""


def test_words_heads_features_and_characters_are_read() -> None:
    first, _ = parse_conllu(TEXT)
    assert (first.sent_id, first.doc_id, first.text) == ("s1", "d1", "Mary  won't go.")
    assert [word.form for word in first.words] == ["Mary", "wo", "n't", "go", "."]
    assert [first.text[slice(*word.span)] for word in first.words] == [w.form for w in first.words]
    assert first.heads == [4, 4, 4, 0, 4]
    assert first.labels("upos") == ["PROPN", "AUX", "PART", "VERB", "PUNCT"]
    assert first.labels("Number") == ["Sing", None, None, None, None]
    assert first.labels("depth") == [1, 1, 1, 0, 1]
    assert first.words[1].feats == {"Mood": "Ind", "Tense": "Pres"}
    assert first.words[3].misc == {"SpaceAfter": "No"}


def test_words_written_as_one_share_its_characters() -> None:
    _, second = parse_conllu(TEXT)
    assert second.text == "du_" and second.doc_id == "d2"
    assert [word.span for word in second.words] == [(0, 2), (0, 2), (2, 3)]
    assert second.words[2].lemma == "_" and second.words[2].form == "_"


def test_line_ends_and_a_missing_last_line_do_not_matter(tmp_path: Path) -> None:
    expected = parse_conllu(TEXT)
    assert parse_conllu(TEXT.replace("\n", "\r\n")) == expected
    assert parse_conllu(TEXT.rstrip()) == expected
    (tmp_path / "x.conllu").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_conllu(tmp_path / "x.conllu") == expected


FORMS = st.lists(st.text("abcé'.\u2028😀", min_size=1, max_size=5), min_size=1, max_size=8)


@given(st.lists(FORMS, min_size=1, max_size=3), st.data())
def test_what_is_written_is_read(sentences: list[list[str]], drawn: st.DataObject) -> None:
    lines: list[str] = []
    heads = []
    for forms in sentences:
        heads.append([drawn.draw(st.integers(0, len(forms))) for _ in forms])
        for k, (form, head) in enumerate(zip(forms, heads[-1], strict=True), 1):
            space = drawn.draw(st.sampled_from(["_", "SpaceAfter=No"]))
            lines.append(f"{k}\t{form}\t_\tX\t_\t_\t{head}\tdep\t_\t{space}")
        lines.append("")
    read = parse_conllu("\n".join(lines))
    assert [[word.form for word in s.words] for s in read] == sentences
    assert [s.heads for s in read] == heads
    for sentence in read:
        for word in sentence.words:
            assert sentence.text[slice(*word.span)] == word.form


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\tSpaceAfter=No\n4.1", "\n4.1", "line 8: 9 columns"),
        ("4\tgo", "x\tgo", "line 8: id 'x' is none"),
        ("4\tgo", "6\tgo", "line 8: id 6 after 3 words; expected 4"),
        ("2-3\t", "3-4\t", "line 5: range 3-4 is out of place"),
        (
            "\t4\tnsubj\t",
            "\t9\tnsubj\t",
            "line 4: head '9' is no word of the sentence, which has 5",
        ),
        ("Number=Sing", "Number", "line 4: feature 'Number' is not Name=Value"),
        ("# text = Mary  won't", "# text = Mary would", r"line 5: \"won't\" does not stand at"),
        ("1-2\tdu", "1-4\tdu", "line 17: the sentence ends before its words do"),
    ],
)
def test_damage_is_named_by_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ProbeError, match=said):
        parse_conllu(TEXT.replace(old, new, 1))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="cannot be read"):
        read_conllu(tmp_path / "no.conllu")
    with pytest.raises(ProbeError, match="holds no sentence"):
        parse_conllu("# nothing\n\n")


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    lines = ["# newdoc"]
    for subject, noun, number in (("The", "keys", "Plur"), ("The", "key", "Sing")):
        lines += [
            f"1\t{subject}\tthe\tDET\tDT\t_\t2\tdet\t_\t_",
            f"2\t{noun}\tkey\tNOUN\tNN\tNumber={number}\t4\tnsubj\t_\t_",
            "3\tis\tbe\tAUX\tVB\t_\t4\tcop\t_\t_",
            "4\tnew\tnew\tADJ\tJJ\t_\t0\troot\t_\tSpaceAfter=No",
            "5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_",
            "",
        ]
    (tmp_path / "tiny.conllu").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "tiny.conllu"


def test_a_treebank_is_data(model: Any, treebank: Path) -> None:
    data = ProbeData.from_conllu(model, treebank, "upos", layers=0)
    assert data.n_rows == 10 and data.n_groups == 2 and data.label == "upos"
    assert data.types is not None and data.types[6] == "key"
    _, cache = model.run_with_cache("The keys is new.")
    np.testing.assert_allclose(
        data.matrix(Place("resid_post", 0), slice(5)), cache["resid_post", 0][0], atol=2e-5
    )
    number = ProbeData.from_conllu(model, read_conllu(treebank), "Number", layers=0)
    assert number.y.tolist() == ["Plur", "Sing"] and number.notes["unlabelled"] == 8
    depth = ProbeData.from_conllu(model, treebank, "depth", layers=0, groups="document")
    assert depth.kind == "regression" and depth.n_groups == 1
    assert depth.y.tolist() == [2, 1, 1, 0, 1] * 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "Numbr"}, "did you mean 'Number'"),
        ({"label": "upso"}, "did you mean 'upos'"),
        ({"groups": "documnet"}, "did you mean 'document'"),
        ({"groups": [1]}, "groups: 1 value for 2 rows"),
        ({"align": "mode"}, "align='mode' is unknown"),
    ],
)
def test_what_a_treebank_lacks_is_named(treebank: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_conllu(None, treebank, **more)


def test_documents_that_are_not_said_are_refused() -> None:
    sentences = parse_conllu(TEXT.replace("# newdoc id = d1\n", ""))
    with pytest.raises(ProbeError, match=r"sentence 0 \(s1\) is in none"):
        ProbeData.from_conllu(None, sentences, groups="document")
    with pytest.raises(ProbeError, match="sentence 0 is int"):
        ProbeData.from_conllu(None, [3])
