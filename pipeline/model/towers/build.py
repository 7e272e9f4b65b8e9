"""Loads the two towers of a Chinese CLIP, strictly, from a checkpoint.

Vision transformers and BERT come from transformers, a ResNet from `pipeline.model.towers.resnet`. They get the weights
and settings that `ModelSpec` was made from, and never a folder: transformers would apply an adapter in it if PEFT is
installed. The whole model is loaded, and its weights must match exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.errors import ModelError
from pipeline.model.architecture import RESNET
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.tokenizer import Tokens
from pipeline.model.weights.adapter import read_adapter
from pipeline.model.weights.tensors import unreadable
from pipeline.model.weights.weights import open_weights

#: Names of the image tower's parameters.
_VISUAL = ("vision_model.", "visual_projection.")


class Towers(Protocol):
    """What `ChineseClip` needs of a model. Vectors are not normalised, in the model's dtype, on its device."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of weights and activations."""

    @property
    def logit_scale(self) -> float:
        """Trained factor on cosines: exp of the parameter, 100 in the released models."""

    @property
    def parameters(self) -> tuple[int, int]:
        """Number of trained values of the whole model, and of its image tower with its projection."""

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) normalised pixels -> (B, D)."""

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """(T, L) token ids and mask -> (T, D)."""


class LoadedTowers:
    """`Towers` over a `ChineseCLIPModel` or a `ResNetModel`."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype) -> None:
        # Before the cast: in bf16 the trained 4.6052 becomes 4.59375, and the scale 98.9 instead of 100.
        self.logit_scale = float(model.logit_scale.detach().double().exp())
        self.device, self.dtype = device, dtype
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        visual = (size for name, size in sizes.items() if name.startswith(_VISUAL))
        self.parameters = (sum(sizes.values()), sum(visual))
        self._model = model.to(device=device, dtype=dtype)
        self._image_features = model.get_image_features
        self._text_features = model.get_text_features

    def compile(self) -> None:
        """Run both towers through torch.compile; the first passes take a minute."""
        self._image_features = torch.compile(self._image_features)
        self._text_features = torch.compile(self._text_features)

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Towers`."""
        return _vectors(self._image_features(pixel_values=pixels))

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """See `Towers`. The mask is required: unmasked padding changes the vectors."""
        return _vectors(self._text_features(input_ids=tokens.ids, attention_mask=tokens.mask))


def load_towers(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> LoadedTowers:
    """Load the weights of `spec`. Raises ModelError if they are damaged, unsafe or do not fit."""
    return LoadedTowers(load_model(spec), device, dtype)


def load_model(spec: ModelSpec) -> Any:
    """The model in float32 on the CPU, for inference. Raises ModelError if its weights are damaged or do not fit.

    Pickled weights are read without torch's unpickler, and code in the model's folder is never run.
    """
    path = Path(spec.folder) / spec.weights_file
    with quiet():
        model, report = _read_model(spec, path)
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *(str(item[0]) for item in report["mismatched_keys"])]
    if wrong:
        raise ModelError(
            f"{path}: the weights do not fit each other in {len(wrong)} places, {sorted(wrong)[0]} first. Take all of "
            "them from one model."
        )
    return model.eval()


def _read_model(spec: ModelSpec, path: Path) -> tuple[Any, dict[str, Any]]:
    """The model in float32 on the CPU, whatever the stored format, and transformers' report on its keys."""
    tree = spec.sizes.config()
    try:
        model, report = _model_class(tree).from_pretrained(
            None,
            config=_config(tree),
            state_dict=load_state(spec, path),
            dtype=torch.float32,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # reported instead, and refused above
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:  # transformers and torch have no common base
        raise unreadable(path, error) from error
    return model, report


def load_state(spec: ModelSpec, path: Path) -> dict[str, torch.Tensor]:
    """The weights by transformers' names, in float32, with an adapter merged. Raises ModelError."""
    weights = open_weights(path.parent, path.name, spec.address)
    changes = read_adapter(Path(spec.adapter)).merged_into(weights.shapes) if spec.adapter else {}
    state = {}
    for name, values in weights.values():
        change = changes.get(name)
        if change is not None:
            values = change.values if change.replaces else values + change.values
        state[name] = torch.from_numpy(values)
    return state


def _model_class(tree: dict[str, Any]) -> Any:
    """The class for a config.json."""
    # Each class is imported only when it is used: transformers' takes seconds.
    if tree["model_type"] == RESNET:
        from pipeline.model.towers.resnet import ResNetModel

        return ResNetModel
    from transformers import ChineseCLIPModel

    return ChineseCLIPModel


def _config(tree: dict[str, Any]) -> Any:
    """The configuration object for the tree of a config.json.

    It names no padding: transformers would set that word's row of the loaded weights to zero.
    """
    text = {**tree["text_config"], "pad_token_id": None}
    given = {**{key: value for key, value in tree.items() if key != "model_type"}, "text_config": text}
    return _model_class(tree).config_class(**given)


def _vectors(output: Any) -> torch.Tensor:
    """The vectors in the result of `get_*_features`: an output object in transformers 5, a tensor before."""
    vectors: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return vectors


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' advice and progress bars; what matters of them is checked here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
