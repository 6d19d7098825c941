from __future__ import annotations

import pytest
import torch
from helpers.tiny_training import losses, trainer

import ablate


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_autocast_covers_the_network_only(name):
    t = trainer(precision=name)
    seen = []
    convolution = next(m for m in t.network.modules() if isinstance(m, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    y = t.f(torch.randn(4, 1, 8, 8), torch.full((4,), 1.0, dtype=torch.float64))
    assert seen == [{"bf16": torch.bfloat16, "fp16": torch.float16}[name]]
    assert y.dtype == torch.float32
    assert {p.dtype for p in t.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_trains_nearly_as_full_precision_does(name):
    half, full = losses(trainer(precision=name), 5), losses(trainer(), 5)
    assert half != full
    assert half == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize("spec", ["fp32", "bf16", "fp16", {"name": "fp32", "tf32": True}])
@pytest.mark.parametrize("before", [True, False])
def test_only_tf32_rounds_float32_products_of_a_gpu_whatever_was_set_before(spec, before):
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    matmul.allow_tf32 = convolution.allow_tf32 = before
    trainer(precision=spec).step()
    assert (matmul.allow_tf32, convolution.allow_tf32) == (isinstance(spec, dict),) * 2


def test_only_float16_scales_the_loss():
    options = ablate.AXES["precision"].options
    assert [name for name in options if ablate.build("precision", name).scales_loss] == ["fp16"]


def test_full_precision_needs_no_context_on_a_cpu():
    with ablate.build("precision", "fp32")("cpu"):
        assert not torch.is_autocast_enabled("cpu")
