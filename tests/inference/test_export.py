from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch
from helpers import untrained
from safetensors.torch import save_file

import ablate
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.inference.export import export, scheduler
from ablate.inference.intermediate_sigma import LADDER
from ablate.inference.model import load, load_export
from ablate.ingredients.embedding import Positional
from ablate.training.sampling import noise, sample

needs_diffusers = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="the extra diffusers is not installed"
)
SHAPE = (3, 8, 8)
COMPATIBLE = {
    "network": {
        "name": "unet2d",
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "dropout": 0.3,
    },
    "embedding": {"name": "positional", "channels": 16},
    "noise_precond": "cm",
}


@pytest.fixture(autouse=True)
def _images_of_the_shape(monkeypatch):
    """The embedded digits are gray; a cell of colour images is as good as its shape says."""
    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: (1, 8, 8))


def colour(path, monkeypatch, **changes):
    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: SHAPE)
    return untrained.store(path, SHAPE, **{**COMPATIBLE, **changes})


def test_an_export_samples_what_its_cell_samples(tmp_path):
    store = untrained.store(tmp_path)
    folder = export(store, "ce", tmp_path / "out")
    found, wanted = load_export(folder), load(store, "cell")
    assert found.cell == wanted.cell
    assert torch.equal(found.sample(3, [0.821], seed=2), wanted.sample(3, [0.821], seed=2))


def test_the_config_says_what_sampling_needs(tmp_path):
    config = json.loads(
        (export(untrained.store(tmp_path), "cell", tmp_path / "out") / "config.json").read_text()
    )
    assert config["image_shape"] == [1, 8, 8]
    assert (config["sigma_min"], config["sigma_max"]) == (0.002, 80.0)
    assert config["sampling"] == [[80.0], [80.0, 0.821]]
    assert config["ablate"] == ablate.__version__
    assert config["specs"]["metric"]["name"] == "pseudo_huber"
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ({"name": "file", "path": "PLACE/start"}, {"path": "start"}),
        ({"name": "file", "path": "PLACE/start/model.safetensors"}, {"path": "model.safetensors"}),
        ({"name": "run", "key": "012", "runs": "PLACE/start"}, {"key": "012", "runs": "start"}),
    ],
)
def test_no_path_of_this_machine_is_in_an_export(start, name, tmp_path):
    weights = tmp_path / "start" / "0123" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    save_file({}, weights)
    shutil.copy(weights, tmp_path / "start")
    store = untrained.store(tmp_path)
    config = read_json(store.folder("cell").config)
    config["specs"]["init_from"] = {k: v.replace("PLACE", str(tmp_path)) for k, v in start.items()}
    config["profile"]["data"] |= {"path": f"{tmp_path}/pictures", "test_path": f"{tmp_path}/others"}
    config["profile"]["evaluation"]["extractor"] = f"{tmp_path}/classifier-1a2b3c4d.safetensors"
    write_json(store.folder("cell").config, config)
    out = export(store, "cell", tmp_path / "out")
    for file in ("config.json", "README.md"):
        assert str(tmp_path) not in (out / file).read_text()
    exported = read_json(out / "config.json")
    assert exported["specs"]["init_from"] == {"name": start["name"], **name}
    assert exported["profile"]["evaluation"]["extractor"] == "classifier-1a2b3c4d.safetensors"
    assert torch.equal(load_export(out).sample(2), load(store, "cell").sample(2))


@pytest.mark.parametrize(
    "data", ["torchvision's CIFAR-10", "Hugging Face's a/b, 9 and 1 images", "pics.zip, 9 and 1 images"]
)
def test_the_card_says_which_images_as_the_record_does(data, tmp_path):
    store = untrained.store(tmp_path)
    write_json(store.folder("cell").record, {"key": "cell", "provenance": {"data": data}})
    assert (
        f"\nData: {data}, fingerprint" in (export(store, "cell", tmp_path / "out") / "README.md").read_text()
    )
    write_json(store.folder("cell").record, {"key": "cell", "provenance": None})
    assert (
        "\nData: digits, fingerprint" in (export(store, "cell", tmp_path / "out") / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{}", "no config.json of an export"),
        ("config.json", '{"format": 1, "image_shape": [1, 8, 8]}', "config.json: "),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", "damaged", "model.safetensors: "),
    ],
)
def test_a_damaged_export_is_one_line(tmp_path, name, content, message):
    file = export(untrained.store(tmp_path), "cell", tmp_path / "out") / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(SpecError, match=message) as caught:
        load_export(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="--out"):
        export(untrained.store(tmp_path), "cell", tmp_path / "file")


def test_a_recipe_that_the_pipeline_would_sample_otherwise_is_refused_whole(tmp_path):
    with pytest.raises(SpecError) as caught:
        export(untrained.store(tmp_path), "cell", tmp_path / "out", diffusers=True)
    for said in (
        "network must be unet2d, but is ncsnpp",
        "embedding must be positional",
        "noise_precond must be cm",
    ):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--format diffusers: ")
    assert not (tmp_path / "out").exists()


@needs_diffusers
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": {"name": "positional", "channels": 32}}, "embedding.channels must be 16, but is 32"),
        ({"input_precond": "script"}, "input_precond must be cm, but is script"),
        ({"parameterization": "script"}, "parameterization must be cm, but is script"),
        (
            {"input_precond": {"name": "cm", "sigma_data": 1.0}},
            "input_precond.sigma_data must be 0.5, but is 1.0",
        ),
    ],
)
def test_each_field_is_named_with_its_value(tmp_path, monkeypatch, change, message):
    store = colour(tmp_path, monkeypatch, **change)
    with pytest.raises(SpecError, match=message):
        export(store, "cell", tmp_path / "out", diffusers=True)


@needs_diffusers
def test_the_scheduler_has_our_coefficients():
    recipe = ablate.apply(ablate.load_recipe("ict"), {"noise_precond": "cm"})
    made, sigma = scheduler(recipe), recipe.levels(10)
    c_skip, c_out = recipe.parameterization(sigma)
    torch.testing.assert_close(
        made.get_scalings_for_boundary_condition(sigma), (c_skip, c_out), rtol=0, atol=0
    )
    t = torch.from_numpy(made.sigma_to_t(sigma.numpy()))
    torch.testing.assert_close(recipe.noise_precond(sigma), t)
    for level in sigma:
        made.sigmas, made._step_index = level[None], 0
        torch.testing.assert_close(made.scale_model_input(1.0, t), recipe.input_precond(level))


@needs_diffusers
@pytest.mark.parametrize("channels", [16, 128])
def test_the_positional_embedding_is_the_library_s_to_the_bit(channels):
    from diffusers.models.embeddings import Timesteps

    c_noise = 250 * ablate.load_recipe("ict").levels(101).log()
    assert torch.equal(Positional(channels)(c_noise), Timesteps(channels, True, 0)(c_noise))


@needs_diffusers
def test_the_pipeline_samples_what_the_cell_samples(tmp_path, monkeypatch):
    from diffusers import ConsistencyModelPipeline

    store = colour(tmp_path, monkeypatch)
    folder = export(store, "cell", tmp_path / "out", diffusers=True)
    ours, theirs = load_export(folder), ConsistencyModelPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    z = noise(0, SHAPE, 3, 0, "cpu")

    def drawn(**arguments):
        images = theirs(batch_size=3, latents=z, output_type="pt", **arguments).images
        return images * 2 - 1

    torch.testing.assert_close(drawn(), ours.sample(3).clamp(-1, 1), rtol=0, atol=1e-5)
    again = torch.randn(z.shape, generator=torch.Generator().manual_seed(5))
    levels = [80.0, float(ours.cell.recipe.levels(LADDER)[492])]
    two = drawn(timesteps=[LADDER - 1 - 492, 0], generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(two, sample(ours.f, [z, again], levels, 0.002).clamp(-1, 1), rtol=0, atol=1e-5)
