"""Tables that mirror a published one have its numbers as a column, each with source and what differs."""

from __future__ import annotations

import re

import pytest
from helpers.made import Made

LION = "set: {optimizer: {name: lion, lr: 0.0003}"
COUPLINGS = f"""
  - list:
      - {{label: independent, {LION}}}}}
      - {{label: transport, {LION}, coupling: minibatch_ot}}}}
      - {{label: generator, {LION}, coupling: generator, network.dropout: 0.0}}}}
      - {{label: generator and dropout, {LION}, coupling: generator}}}}
"""
FLOW = """
  - list:
      - {label: p = 0, base: flow}
      - {label: p = 1, base: flow, set: {metric: {name: adaptive, p: 1.0}, weighting.p: 1.0}}
      - {label: EDM, base: flow, set: {parameterization: cm, input_precond: cm, noise_precond: edm}}
"""
DEEP = """
  - list: [{label: tcm, base: tcm}, {label: meanflow, base: meanflow}]
"""
ONE = """
  - list: [{label: tuned, base: sct}, {label: clipped, base: sct, set: {pairing.tangent: clip}}]
"""


def notes(made, text):
    """The footnotes that a table's cell names."""
    return [
        re.search(rf"^\[\^{n}\]: (.*)$", made.page, re.MULTILINE)[1] for n in re.findall(r"\[\^(\d+)\]", text)
    ]


@pytest.mark.parametrize(
    ("label", "cell"),
    [("independent", "7.42"), ("transport", "6.75"), ("generator", "5.95"), ("generator and dropout", None)],
)
def test_couplings_stand_beside_those_of_the_paper(tmp_path, label, cell):
    made = Made(tmp_path, COUPLINGS).put(0, 20.0, 21.0)
    paper = made.line(label)["paper"]
    if cell is None:
        assert paper == "-"
        return
    assert cell in paper
    (note,) = notes(made, paper)
    assert f"on CIFAR-10 as published: FID {cell}, 1 step (arXiv 2406.09570, Table 1" in note
    assert "Not comparable with this table: this table uses digits" in note
    assert "instead of 51,200,000" in note
    assert "the published one Inception, n=50000 against training images" in note
    assert "network ddpmpp instead of ncsnpp" in note
    assert "optimizer.lr 0.0001 instead of 0.0003" in note


def test_a_row_of_several_tables_has_the_numbers_of_each(tmp_path):
    made = Made(tmp_path, FLOW)
    paper = made.line("p = 0")["paper"]
    assert re.sub(r"\[\^\d+\]", "", paper) == (
        "alpha-Flow, p = 0 59.20; MeanFlow, p = 0 79.75; IMM, Euler on the linear path 2.53"
    )
    sources = [re.search(r"\((arXiv [\d.]+)", note)[1] for note in notes(made, paper)]
    assert sources == ["arXiv 2510.20771", "arXiv 2505.13447", "arXiv 2503.07565"]
    assert "on ImageNet-256" in notes(made, paper)[0]
    (edm,) = notes(made, made.line("EDM")["paper"])
    assert "FID 2.10, 2 steps" in edm
    assert "noise_precond 1000 sigma / (1 + sigma) instead of edm" in edm
    for note in notes(made, made.line("p = 1")["paper"]):
        assert "pairing one with two times instead of alpha_flow" in note


def test_fields_of_an_option_differ_and_an_unset_one_is_called_so(tmp_path):
    made = Made(tmp_path, DEEP)
    (tcm,), (mean,) = (notes(made, made.line(label)["row"]) for label in ("tcm", "meanflow"))
    assert "the published run has teacher.level 1 instead of 0.8, noise.low 1 instead of 0.8, " in tcm
    assert "pairing.cap 0.999 instead of unset" in tcm
    assert "TCM on CIFAR-10 with 55.7 million parameters as published" in tcm
    assert "with 55 million parameters as published: FID 2.92, 1 step (arXiv 2505.13447, Table 3)" in mean
    assert "pairing.end_mean unset instead of -4" in mean


def test_one_row_of_a_table_is_no_mirror_and_keeps_its_footnotes(tmp_path):
    made = Made(tmp_path, ONE)
    assert "paper" not in made.line("tuned")
    found = notes(made, made.line("tuned")["row"])
    assert [re.search(r"FID ([\d./ ]+), ", note)[1] for note in found] == [
        "2.85 / 2.06",
        "3.97",
        "3.51",
        "3.09",
    ]
    assert "[^" not in made.line("clipped")["row"]
