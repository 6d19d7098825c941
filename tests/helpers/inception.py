"""Inception's architecture with random weights, in the file that the extractor `inception` reads."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch


def random_weights(file: Path) -> Path:
    """Write the file and return it; nothing is downloaded."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    with (
        mock.patch.object(library, "load_state_dict_from_url", return_value={}),
        mock.patch.object(library.FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        made = library.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(made.state_dict(), file)
    return file
