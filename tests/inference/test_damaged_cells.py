"""Cells whose config was cut off by a full disk, or edited: one line that names the file."""

from __future__ import annotations

import pytest
from helpers.untrained import store

import ablate
from ablate.core.errors import SpecError
from ablate.inference import model


@pytest.mark.parametrize("left", ["", '{"format": 1, "key": ', "null", "[]", "{}", '{"imports": []}'])
def test_a_damaged_config_is_named(left, tmp_path):
    made = store(tmp_path)
    config = made.folder("cell").config
    config.write_text(left)
    with pytest.raises(SpecError, match="not the config of a cell") as caught:
        model.load(made, "cell")
    assert str(config) in str(caught.value)
    assert len(caught.value.problems) == 1


def test_no_key_is_no_cell(tmp_path):
    with pytest.raises(SpecError, match="no cell ''"):
        ablate.load("", store(tmp_path).path)
