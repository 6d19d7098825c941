"""network: (C, H, W), classes -> Module(x (B, C, H, W), c_noise (B,), label (B, classes) | None) -> (B, C, H, W).

The module of an option with `second_level` has a fourth argument c_until (B,), the c_noise of a second level.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ablate.core import code, plugins
from ablate.core.errors import SpecError, missing_extra, nearest
from ablate.core.registry import Axis, Option, depends_on
from ablate.ingredients.halving import Halving, Headed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ablate.networks import Style


class Network(Option):
    """A network also states its dropout rate and which fields its weights depend on, and may transform its output."""

    dropout: float = 0.0  # share of activations set to zero in training
    # fields that hold for any weights
    free: ClassVar[tuple[str, ...]] = ("dropout", "checkpointing")
    # other fields that change what the weights compute, but not their names or shapes: `init_from` compares them
    unseen: ClassVar[tuple[str, ...]] = ()
    foreign: ClassVar[bool] = True  # only building it shows whether its code accepts the arguments
    second_level: str | None = None  # how it takes the level at which a step ends; None: not at all

    def output(self, F: Tensor, sigma: Tensor) -> Tensor:
        """The output that f uses, from the network's output F (B, C, H, W) at sigma (B,)."""
        return F


network = Axis(__doc__, default="ncsnpp", base=Network)

Shape = tuple[int, int, int]
Count = Annotated[int, Field(gt=0)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
SecondLevel = Literal["gap", "end"]


def _unet(option: Any, style: Style, shape: Shape, classes: int) -> nn.Module:
    from ablate.networks import Size, UNet

    option.for_images(shape)
    if option.double_norm:
        style = replace(style, adaptive=True, double_norm=True)
    style = replace(style, second_level=option.second_level)
    size = Size(
        width=option.width,
        multipliers=option.multipliers,
        blocks=option.blocks * (1 + option.deep),
        attention=option.attention,
        dropout=option.dropout,
        checkpointing=option.checkpointing,
    )
    return UNet(shape, classes, option.embedding, style, size)


@network("ncsnpp")
@dataclass(frozen=True)
class NCSNpp(Halving):
    """NCSN++ as EDM trains it; CM's and iCT's network on CIFAR-10.

    Each level also gets the image, downsampled by convolutions; resampling blurs with [1, 3, 3, 1]; sums are
    scaled by sqrt(1/2). The defaults are for 32 x 32: 56.4M parameters, 42.8 GFLOP per image and forward
    pass; deep: 97.6M.

    Source: Song et al. 2021 (arXiv 2011.13456) appendix H; `SongUNet` in the code of EDM, training/networks.py.

    Args:
        width: channels of the first level.
        multipliers: factors of the width, one per level; each level halves the resolution.
        blocks: residual blocks per level, one more in the decoder.
        attention: resolutions with attention, in pixels of the shorter side; those that no level has are
            ignored. The innermost level always has one attention block.
        dropout: share of activations set to zero before each block's last convolution.
        deep: twice the blocks, as in iCT-deep.
        checkpointing: recompute each block in the backward pass to save memory.
        divide_by_sigma: the denoiser divides the output by sigma, as score models do. Defect D15: no equation
            of consistency models does this.
        double_norm: in each block the embedding gives a scale and a shift of the normalized activations, and both
            are normalized over the channels, so that no noise level can make them large. Source: sCM (arXiv
            2410.11081) section 4.1.
        second_level: the network also takes the level at which a step ends, for pairings such as `mean_flow`; its
            embedding enters by a linear layer of its own. `gap` embeds the difference of the two c_noise, which
            MeanFlow (arXiv 2505.13447, Table 1c) found best, `end` the c_noise of the end.
    """

    width: Count = 128
    multipliers: Counts = (2, 2, 2)
    blocks: Count = 4
    attention: tuple[Count, ...] = (16,)
    dropout: Rate = 0.0
    deep: bool = False
    checkpointing: bool = False
    divide_by_sigma: bool = False
    double_norm: bool = False
    second_level: SecondLevel | None = None
    embedding: Any = depends_on("embedding")
    unseen = ("divide_by_sigma", "second_level")
    foreign = False
    added_fields = ("double_norm", "second_level")

    @property
    def replays(self) -> tuple[str, ...]:
        """The defect, if it is switched on."""
        return ("D15",) if self.divide_by_sigma else ()

    def output(self, F: Tensor, sigma: Tensor) -> Tensor:
        """F, or F / sigma."""
        return F / sigma.float()[:, None, None, None] if self.divide_by_sigma else F

    def __call__(self, shape: Shape, classes: int = 0) -> nn.Module:
        """The network for images of `shape` (C, H, W); SpecError if H or W cannot be halved once per level."""
        from ablate.networks import NCSNPP

        return _unet(self, NCSNPP, shape, classes)


@network("ddpmpp")
@dataclass(frozen=True)
class DDPMpp(Halving):
    """DDPM++ as EDM trains it; the network ECT starts from on CIFAR-10.

    Like `ncsnpp`, but only the first level gets the image, and resampling averages or repeats pixels; intended for
    the `positional` embedding. The defaults are for 32 x 32: 55.7M parameters, 42.4 GFLOP per image and forward pass.

    Source: as of `ncsnpp`.

    Args:
        width, multipliers, blocks, attention, dropout, deep, checkpointing, double_norm, second_level: as in
            `ncsnpp`.
    """

    width: Count = 128
    multipliers: Counts = (2, 2, 2)
    blocks: Count = 4
    attention: tuple[Count, ...] = (16,)
    dropout: Rate = 0.0
    deep: bool = False
    checkpointing: bool = False
    double_norm: bool = False
    second_level: SecondLevel | None = None
    embedding: Any = depends_on("embedding")
    unseen = ("second_level",)
    foreign = False
    added_fields = ("double_norm", "second_level")

    def __call__(self, shape: Shape, classes: int = 0) -> nn.Module:
        """The network for images of `shape` (C, H, W); SpecError if H or W cannot be halved once per level."""
        from ablate.networks import DDPMPP

        return _unet(self, DDPMPP, shape, classes)


@network("adm")
@dataclass(frozen=True)
class ADM(Headed):
    """ADM; CM's and iCT's network on ImageNet-64.

    The embedding scales and shifts the normalized activations; attention has several heads and is in every decoder
    block of its levels. The defaults are for 64 x 64: with 1,000 classes and `positional` of 192 channels 295.9M
    parameters, 219.3 GFLOP per image and forward pass; deep: 495M.

    Source: Dhariwal and Nichol 2021 (arXiv 2105.05233) section 3; `DhariwalUNet` in the code of EDM,
    training/networks.py.

    Args:
        head_channels: channels per attention head.
        width, multipliers, blocks, attention, dropout, deep, checkpointing, double_norm, second_level: as in
            `ncsnpp`.
    """

    width: Count = 192
    multipliers: Counts = (1, 2, 3, 4)
    blocks: Count = 3
    attention: tuple[Count, ...] = (32, 16, 8)
    head_channels: Count = 64
    dropout: Rate = 0.0
    deep: bool = False
    checkpointing: bool = False
    double_norm: bool = False
    second_level: SecondLevel | None = None
    embedding: Any = depends_on("embedding")
    unseen = ("head_channels", "double_norm", "second_level")
    foreign = False
    added_fields = ("double_norm", "second_level")

    def __call__(self, shape: Shape, classes: int = 0) -> nn.Module:
        """The network for images of `shape` (C, H, W); SpecError if H, W or the heads do not divide evenly."""
        from ablate.networks import ADM as style

        return _unet(self, replace(style, head_channels=self.head_channels), shape, classes)


@network("unet2d")
@dataclass(frozen=True)
class UNet2D(Halving):
    """diffusers' `UNet2DModel` with the recipe's embedding; needs the extra `diffusers`.

    The defaults are those of the library's consistency-training example: 113.7M parameters for 3 channels.
    Unlike in the other networks, a block does not start as its skip connection.

    Source: the class in diffusers, and examples/research_projects/consistency_training there.

    Args:
        block_out_channels: channels per level, each a multiple of norm_num_groups.
        layers_per_block: residual blocks per level, one more in the decoder.
        down_block_types, up_block_types: the library's names, one per level.
        attention_head_dim: channels per attention head.
        norm_num_groups: groups of the group norms.
        dropout: share of activations set to zero before each residual block's last convolution.
    """

    block_out_channels: Counts = (128, 128, 256, 256, 512, 512)
    layers_per_block: Count = 2
    down_block_types: tuple[str, ...] = (*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D")
    up_block_types: tuple[str, ...] = ("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4)
    attention_head_dim: Count = 8
    norm_num_groups: Count = 32
    dropout: Rate = 0.0
    embedding: Any = depends_on("embedding")
    unseen = ("attention_head_dim", "norm_num_groups")
    per_level = "block_out_channels"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("diffusers") is None:
            raise missing_extra("unet2d", "diffusers")
        for name in ("down_block_types", "up_block_types"):
            types, levels = getattr(self, name), len(self.block_out_channels)
            if len(types) != levels:
                law = "one type per entry of block_out_channels must be given"
                raise SpecError(f"{name}: {law}, but got {len(types)} types for {levels}")

    def __call__(self, shape: Shape, classes: int = 0) -> nn.Module:
        """The network for images of `shape` (C, H, W); SpecError if the library refuses the arguments."""
        from ablate.networks.foreign import DiffusersUNet

        self.for_images(shape)
        arguments = {k: v for k, v in vars(self).items() if k != "embedding"}
        try:
            return DiffusersUNet(shape, classes, self.embedding, arguments)
        except ValueError as error:
            raise SpecError(f"unet2d: {' '.join(str(error).split())}") from None


@network("module")
@dataclass(frozen=True)
class Module:
    """Any `nn.Module` class of an importable file: `class(shape=, classes=, embedding=, **arguments)`.

    Source: this package; the network is yours.

    Args:
        path: "package.module:ClassName".
        arguments: further arguments of the class.
    """

    path: str
    arguments: dict[str, Any] = field(default_factory=dict)
    embedding: Any = depends_on("embedding")

    def __post_init__(self) -> None:
        module, colon, name = self.path.partition(":")
        if not (module and colon and name):
            raise SpecError(f"path: must be 'package.module:ClassName', but got {self.path!r}")

    def code_modules(self) -> tuple[str, ...]:
        """The module in `path`."""
        return (self.path.partition(":")[0],)

    def require(self) -> None:
        """Raise a SpecError if there is no module of this name; it is not imported."""
        if not code.exists(*self.code_modules()):
            raise SpecError(
                f"network.path: {self.path!r}: no module {self.code_modules()[0]!r} is installed, in the current "
                "folder or beside the experiment file"
            )

    def __call__(self, shape: Shape, classes: int = 0) -> nn.Module:
        """Your network, with dropout that student and teacher share.

        SpecError if there is no such class, it refuses its arguments, or training does not suit it.
        """
        from ablate.networks.foreign import adopt

        module_class: Any = self.module_class()
        try:
            made: nn.Module = module_class(
                shape=shape, classes=classes, embedding=self.embedding, **self.arguments
            )
        except (TypeError, ValueError) as error:
            raise SpecError(f"arguments: {self.path}: {' '.join(str(error).split())}") from error
        adopt(made, f"network.path: {self.path}")
        return made

    def module_class(self) -> type[nn.Module]:
        """The class that `path` names."""
        from torch import nn

        module, _, name = self.path.partition(":")
        with plugins.yours(f"network.path: {self.path!r}"):
            names = vars(importlib.import_module(module))
        classes = {k: v for k, v in names.items() if isinstance(v, type) and issubclass(v, nn.Module)}
        if name not in classes:
            raise SpecError(f"network.path: {module} has no nn.Module {name!r}; {nearest(name, classes)}")
        return classes[name]
