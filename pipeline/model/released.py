"""The five released Chinese CLIP models: names, hub ids, files and sizes.

`--model vit-l-14` stands for the hub id in this table, and so does the authors' spelling (`ViT-L-14`). The figures are
from the authors' model page and configuration files.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model.architecture import RESNET_STRIDE, Architecture, ResNet, Transformer

_BASE = Transformer(layers=12, width=768, heads=12, hidden=3072)
_LARGE = Transformer(layers=24, width=1024, heads=16, hidden=4096)


@dataclass(frozen=True, slots=True)
class Variant:
    """One released model.

    Attributes:
        name: as for `--model`.
        hub_id: repository on the Hugging Face hub.
        original: name of the authors' own checkpoint in it; RN50 has no other weights.
        architecture: sizes of both towers.
        image_parameters: of the image tower and its projection.
        parameters: of the whole model.
    """

    name: str
    hub_id: str
    original: str
    architecture: Architecture
    image_parameters: int
    parameters: int

    @property
    def original_name(self) -> str:
        """The authors' spelling: `ViT-L-14` for `vit-l-14`."""
        return self.name.upper().replace("VIT", "ViT")

    @property
    def text_parameters(self) -> int:
        """Of the text tower and its projection; the logit scale belongs to neither."""
        return self.parameters - self.image_parameters - 1

    @property
    def has_hub_format(self) -> bool:
        """Whether the repository also holds the model in transformers' format."""
        return not isinstance(self.architecture.image, ResNet)


VARIANTS = (
    Variant(
        name="rn50",
        hub_id="OFA-Sys/chinese-clip-rn50",
        original="clip_cn_rn50.pt",
        architecture=Architecture(
            dim=1024,
            image_size=224,
            image=ResNet((3, 4, 6, 3), 64),
            patch=RESNET_STRIDE,
            text=Transformer(layers=3, width=768, heads=12, hidden=3072),
        ),
        image_parameters=38_316_896,
        parameters=76_989_537,
    ),
    Variant(
        name="vit-b-16",
        hub_id="OFA-Sys/chinese-clip-vit-base-patch16",
        original="clip_cn_vit-b-16.pt",
        architecture=Architecture(dim=512, image_size=224, image=_BASE, patch=16, text=_BASE),
        image_parameters=86_192_640,
        parameters=188_262_913,
    ),
    Variant(
        name="vit-l-14",
        hub_id="OFA-Sys/chinese-clip-vit-large-patch14",
        original="clip_cn_vit-l-14.pt",
        architecture=Architecture(dim=768, image_size=224, image=_LARGE, patch=14, text=_BASE),
        image_parameters=303_966_208,
        parameters=406_233_089,
    ),
    Variant(
        name="vit-l-14-336",
        hub_id="OFA-Sys/chinese-clip-vit-large-patch14-336px",
        original="clip_cn_vit-l-14-336.pt",
        architecture=Architecture(dim=768, image_size=336, image=_LARGE, patch=14, text=_BASE),
        image_parameters=304_293_888,
        parameters=406_560_769,
    ),
    Variant(
        name="vit-h-14",
        hub_id="OFA-Sys/chinese-clip-vit-huge-patch14",
        original="clip_cn_vit-h-14.pt",
        architecture=Architecture(
            dim=1024,
            image_size=224,
            image=Transformer(layers=32, width=1280, heads=16, hidden=5120),
            patch=14,
            text=_LARGE,
        ),
        image_parameters=632_076_800,
        parameters=957_598_209,
    ),
)


def variant(name: str) -> Variant | None:
    """The released model with this short name, in upper or lower case, or this hub id."""
    return next((known for known in VARIANTS if name.lower() == known.name or name == known.hub_id), None)
