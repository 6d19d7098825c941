"""`convert`, what its folder says, which recipes may start from it, and the way back to other projects."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from helpers import cli, foreign, untrained
from helpers.tiny_training import trainer
from safetensors.torch import load_file

import ablate
from ablate.checkpoints import edm, hub
from ablate.checkpoints.consistency_models import ConsistencyModels
from ablate.checkpoints.convert import convert
from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.ingredients.init_from import CONVERTED

DIGITS = foreign.architecture("ddpmpp", shape=(1, 8, 8))
FILE = """
name: further
seeds: [0]
base: ect
set:
  network: {name: ddpmpp, width: 16, multipliers: [1, 2], blocks: 1, attention: [4], dropout: 0.1}
  embedding: {name: positional, channels: 16, endpoint: true}
  init_from: {name: file, path: out}
plan: [{list: [{label: further}]}]
"""


def written(folder, made=DIGITS, name="net.pt"):
    torch.save(edm.EDM().written(made, foreign.network(made).state_dict()), folder / name)
    return folder / name


@pytest.fixture
def converted(tmp_path):
    convert(written(tmp_path), tmp_path / "out")
    (tmp_path / "further.yaml").write_text(FILE)
    return tmp_path


def plan(folder, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    return cli.call("run", "further.yaml", "--dry-run", *words, cwd=folder)


def test_the_folder_says_what_it_is(converted):
    record = json.loads((converted / "out" / CONVERTED).read_text())
    assert record["source"] == {
        "name": "net.pt",
        "sha256": hashlib.sha256((converted / "net.pt").read_bytes()).hexdigest(),
    }
    assert (record["predicts"], record["image_shape"], record["classes"]) == ("denoiser", [1, 8, 8], 0)
    assert record["dropped"] == ["4 resample_filter buffers: constants of the architecture"]
    card = (converted / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "unknown"
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    assert settings["init_from"] == {"name": "file", "path": str(converted / "out")}
    recipe = ablate.apply(ablate.load_recipe("ect"), settings)
    recipe.init_from.fits(recipe.parts(), (1, 8, 8), 0)


def test_the_command_prints_it(tmp_path):
    file = written(tmp_path)
    done = cli.call("convert", file, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "EDM: state dict, here ddpmpp; it is a denoiser",
        "dropped: 4 resample_filter buffers: constants of the architecture",
        "out/README.md",
    ]
    again = cli.call("convert", file, "--out", "out", "--json", "--predicts", "consistency", cwd=tmp_path)
    assert json.loads(again.stdout)["predicts"] == "consistency"


def test_weights_of_another_source_are_not_replaced(tmp_path):
    convert(written(tmp_path), tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    other = written(tmp_path, foreign.architecture("ddpmpp"), "other.pt")
    done = cli.call("convert", other, "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is a model.safetensors of another source in it; name another folder" in done.stderr
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("source", ["net.pt", None, ["net.pt"], {}, {"sha256": 1}])
def test_a_description_that_somebody_edited_is_of_another_source(source, converted):
    write_json(converted / "out" / CONVERTED, {"source": source})
    with pytest.raises(SpecError, match=r"there is a model\.safetensors of another source in it"):
        convert(converted / "net.pt", converted / "out")


@pytest.mark.parametrize("file", [CONVERTED, "README.md", "model.safetensors"])
def test_a_conversion_that_was_interrupted_can_be_repeated(file, tmp_path, monkeypatch):
    def interrupted(source, target, replace=os.replace):
        if Path(target).name == file:
            raise KeyboardInterrupt
        replace(source, target)

    source = written(tmp_path)
    with monkeypatch.context() as during:
        during.setattr("os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out")
    convert(source, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {CONVERTED, "README.md", "model.safetensors"}


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "out").write_text("")
    done = cli.call("convert", written(tmp_path), "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: --out out: file exists\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resolution", "16"], "--resolution 16: these weights are for 8 pixels"),
        (["--predicts", "noise"], "--predicts noise: there are: denoiser, consistency"),
    ],
)
def test_options_that_contradict_the_file(words, said, tmp_path):
    done = cli.call("convert", written(tmp_path), "--out", "out", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")
    assert not (tmp_path / "out").exists()


def ct(**changes):
    made = foreign.architecture("adm", 0, {"name": "positional", "channels": 128}, width=128, multipliers=[1])
    tensors = ConsistencyModels().written(made, foreign.network(made).state_dict())
    return {**tensors, **changes}


@pytest.mark.parametrize(
    ("tensors", "resolution", "said"),
    [
        (ct(), None, "does not say for which images it is: add --resolution"),
        (ct(**{"input_blocks.2.0.op.weight": torch.zeros(1)}), 8, "only networks with resblock_updown"),
        (ct(**{"out.2.weight": torch.zeros(6, 128, 3, 3)}), 8, "learn_sigma"),
        (ct(**{"out.2.bias": torch.zeros(4)}), 8, r"'out.2.bias' has the shape \(4,\), but \(3,\)"),
        (
            {n: t[:96] if n.startswith("input_blocks.1.0.out") else t for n, t in ct().items()},
            8,
            "no multiple of",
        ),
    ],
)
def test_consistency_models_that_do_not_fit(tensors, resolution, said, tmp_path):
    torch.save(tensors, tmp_path / "ct.pt")
    with pytest.raises(SpecError, match=said):
        convert(tmp_path / "ct.pt", tmp_path / "out", resolution)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("resnet_time_scale_shift", "scale_shift", "unet2d needs 'default', but it is 'scale_shift'"),
        ("time_embedding_type", "fourier", "unet2d needs 'positional', but it is 'fourier'"),
        ("num_class_embeds", 10, "unet2d needs None, but it is 10"),
        ("out_channels", 6, "unet2d needs 3, but it is 6"),
        ("freq_shift", 2, "needs 0 or 1, but it is 2"),
        ("block_out_channels", None, "block_out_channels: needs a value"),
    ],
)
def test_diffusers_configs_that_are_not_ours_name_the_field(field, value, said, tmp_path):
    config = {
        "_class_name": "UNet2DModel",
        "sample_size": 8,
        "block_out_channels": [16],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
    }
    config |= {field: value} if value else {}
    config = {k: v for k, v in config.items() if value or k != field}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({"conv_in.weight": torch.zeros(2)}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(
        SpecError, match=re.escape(f"config.json: {field}: ") + ".*|" + re.escape(said)
    ) as caught:
        convert(tmp_path, tmp_path / "out")
    assert said in str(caught.value)


# starting from a converted network


def test_a_recipe_that_fits_plans_and_its_key_follows_the_weights(converted):
    first = plan(converted, "network.dropout=0.3")
    assert first.returncode == 0, first.stderr
    keys = json.loads(cli.call("run", "further.yaml", "--dry-run", "--json", cwd=converted).stdout)
    (converted / "out").rename(converted / "moved")
    moved = cli.call(
        "run", "further.yaml", "--dry-run", "--json", "--set", "init_from.path=moved", cwd=converted
    )
    assert json.loads(moved.stdout)["cells"] == keys["cells"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["network.width=32"], "network.width must be 16, but is 32"),
        (
            ["network.blocks=2", "network.attention=[]"],
            "network.blocks must be 1, but is 2; network.attention must be [4], but is []",
        ),
        (["embedding.endpoint=false"], "embedding.endpoint must be true, but is false"),
        (["embedding.max_positions=100"], "embedding.max_positions must be 10000, but is 100"),
        (["embedding=fourier", "embedding.channels=16"], "embedding must be positional, but is fourier"),
        (["noise_precond=cm"], "noise_precond must be edm, but is cm"),
        (["input_precond=none"], "input_precond must be cm, but is none"),
        (["network=adm", "network.width=16"], "network must be ddpmpp, but is adm"),
        (["profile.data.labels=true"], "they are for 0 classes, but profile.data has 10"),
        (
            ["profile.data.resolution=16"],  # attention at 4 pixels is elsewhere then
            "they are for images [1, 8, 8], but these are [1, 16, 16]",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_names_the_fields(settings, said, converted):
    done = plan(converted, *settings)
    assert done.returncode == 2
    assert f"init_from.path: 'out': weights of another network: {said}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_weights_whose_tensors_fit_images_of_another_size_plan(converted):
    done = plan(converted, "profile.data.resolution=16", "network.attention=[8]")
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_weights_without_a_folder_name_the_first_tensor(converted):
    (converted / "out" / CONVERTED).unlink()
    done = plan(converted, "network.width=32")
    assert done.returncode == 2
    assert (
        "weights of another network: the tensor 'condition.layer0.weight' is [64, 16], not [128, 16]"
        in done.stderr
    )


def test_training_starts_from_a_converted_network(converted):
    recipe = {**yaml.safe_load(FILE)["set"], "init_from": {"name": "file", "path": str(converted / "out")}}
    t = trainer(base="ect", **recipe, **{"network.width": 16, "network.attention": [4]})
    stored = load_file(converted / "out" / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in t.network.state_dict().items())
    assert t.step().loss.isfinite()


# the way back


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "ddpmpp", "embedding.channels": 130}, "embedding.channels must be 128, but is 130"),
        ({"network": "ddpmpp", "embedding": "positional"}, "embedding.endpoint must be True, but is False"),
        ({"network": "adm"}, "embedding must be positional, but is fourier"),
        ({"network": {"name": "adm", "head_channels": 32}}, "network.head_channels must be 64, but is 32"),
        (
            {"network": {"name": "ncsnpp", "divide_by_sigma": True}},
            "network.divide_by_sigma must be False, but is True",
        ),
        (
            {"noise_precond": "cm", "input_precond": "none"},
            "noise_precond must be edm, but is cm; input_precond must",
        ),
    ],
)
def test_a_recipe_that_edm_has_not_is_refused_whole(change, said):
    recipe = ablate.apply(ablate.load_recipe("ict"), change)
    with pytest.raises(SpecError, match=re.escape(said)):
        edm.state_dict(recipe, (3, 32, 32), 0, {})
    with pytest.raises(SpecError, match="the images must be square, but are 16x32") as caught:
        edm.state_dict(recipe, (3, 32, 16), 0, {})
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


EXPORTED = {
    "network": {"name": "ddpmpp", "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
    "embedding": {"name": "positional", "channels": 32, "endpoint": True},
}


def test_an_export_for_edm_comes_back_with_a_card(tmp_path, monkeypatch):
    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: (1, 8, 8))
    store = untrained.store(tmp_path, **EXPORTED)
    entry = {"nfe": 1, "value": 12.34, "n": 64, "extractor": "classifier-abc", "reference": "heldout-64-def"}
    write_json(store.folder("cell").record, {"key": "cell", "images": 80, "fid": [entry]})
    words = ["--format", "edm-state-dict", "--license", "mit"]
    done = cli.call("export", "cell", "--out", "back", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = convert(tmp_path / "back" / "edm_state_dict.pt", tmp_path / "again")
    ours = load_file(tmp_path / "back" / "model.safetensors")
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in ours.items())
    card = (tmp_path / "back" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["license"], head["tags"]) == ("mit", ["consistency-models", "ddpmpp"])
    answer = [
        "| 1 | 12.34 | 64 | classifier-abc | heldout-64-def |",
        "Seed 0",
        "80 images seen",
        "endpoint: true",
    ]
    assert [line for line in answer if line not in card] == []


def test_an_unknown_format_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: (1, 8, 8))
    untrained.store(tmp_path)
    done = cli.call("export", "cell", "--out", "out", "--format", "edm", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: --format edm: ")
    assert not (tmp_path / "out").exists()


def no_token(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def test_push_needs_a_token_a_name_and_weights(converted, monkeypatch):
    no_token(monkeypatch, converted)
    for words, said in [
        (("out", "me/model"), "push needs a token of the hub with the right to write: set HF_TOKEN"),
        (("out", "me/mo del"), "'me/mo del': no name of a repository"),
        (("nothing", "me/model"), "nothing: has no model.safetensors"),
    ]:
        done = cli.call("push", *words, cwd=converted)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr


@pytest.fixture
def pushed(monkeypatch):
    """The calls that a hub gets: it has the public repository `me/public`, and makes others as it is asked to."""
    calls = []

    class Api:
        def __init__(self, **given):
            calls.append(given)

        def create_repo(self, name, private, exist_ok):
            calls.append({"private": private, "exist_ok": exist_ok})
            self.private = private and name != "me/public"
            return types.SimpleNamespace(repo_id=name)

        def repo_info(self, name):
            return types.SimpleNamespace(private=self.private)

        def upload_folder(self, **given):
            calls.append(given)
            return types.SimpleNamespace(commit_url="https://example.org/commit")

    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "a token")
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return calls


@pytest.mark.parametrize("words", [[], ["--private"]])
def test_push_uploads_the_folder(words, converted, pushed):
    done = cli.call("push", "out", "me/model", *words, cwd=converted)
    assert (done.returncode, done.stdout) == (0, "https://example.org/commit\n")
    _, made, uploaded = pushed
    assert made == {"private": bool(words), "exist_ok": True}
    assert (uploaded["repo_id"], uploaded["folder_path"].name) == ("me/model", "out")


def test_push_uploads_nothing_private_to_what_is_public(converted, pushed):
    done = cli.call("push", "out", "me/public", "--private", cwd=converted)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "push --private: me/public exists and is public" in done.stderr
    assert len(pushed) == 2
    assert hub.push(converted / "out", "me/public") == "https://example.org/commit"


def test_push_without_the_library_names_the_extra(converted, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install -e '\.\[huggingface\]'"):
        hub.push(converted / "out", "me/model")
