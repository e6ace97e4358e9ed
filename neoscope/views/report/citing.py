"""What a report asks its readers to cite; the same as CITATION.cff, which no wheel carries."""

from __future__ import annotations

BIBTEX = """\
@software{gpt-neo,
  author    = {Black, Sid and Gao, Leo and Wang, Phil and Leahy, Connor and Biderman, Stella},
  title     = {{GPT-Neo: Large Scale Autoregressive Language Modeling with Mesh-Tensorflow}},
  month     = mar,
  year      = 2021,
  note      = {{If you use this software, please cite it using these metadata.}},
  publisher = {Zenodo},
  version   = {1.0},
  doi       = {10.5281/zenodo.5297715},
  url       = {https://doi.org/10.5281/zenodo.5297715}
}

@article{gao2020pile,
  title   = {The Pile: An 800GB Dataset of Diverse Text for Language Modeling},
  author  = {Gao, Leo and Biderman, Stella and Black, Sid and Golding, Laurence and Hoppe, Travis
             and Foster, Charles and Phang, Jason and He, Horace and Thite, Anish
             and Nabeshima, Noa and Presser, Shawn and Leahy, Connor},
  journal = {arXiv preprint arXiv:2101.00027},
  year    = {2020}
}"""


def cite_neoscope() -> str:
    """Return how neoscope itself is cited."""
    from neoscope import __version__

    return (
        f"The neoscope developers. neoscope, version {__version__}: an interpretability workbench "
        "for GPT-Neo (Apache-2.0)."
    )
