"""Loads the two towers of a Chinese CLIP, strictly, from a checkpoint.

Vision transformers and BERT come from transformers, a ResNet from `pipeline.model.towers.resnet`. The tensors of the
authors' `.pt` files are renamed in memory. The whole model is loaded, and its weights must match exactly: a text tower
that transformers loads alone from the same file gets random weights, and only a log line says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.errors import ModelError
from pipeline.model.architecture import RESNET
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.files import original
from pipeline.model.files.tensors import unreadable
from pipeline.model.tokenizer import Tokens

#: Buffers and BERT's pooler, which old checkpoints contain and Chinese CLIP does not use.
_UNUSED = ("position_ids", "token_type_ids", "text_model.pooler.dense.weight", "text_model.pooler.dense.bias")
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


def load_towers(spec: ModelSpec, device: torch.device, dtype: torch.dtype, vocabulary_size: int) -> LoadedTowers:
    """Load the weights of `spec`. Raises ModelError if they are damaged, unsafe or do not fit."""
    model = load_model(spec)
    words = model.config.text_config
    if words.vocab_size < vocabulary_size or words.max_position_embeddings < spec.context_length:
        raise ModelError(
            f"{spec.vocabulary_folder or spec.folder}: {vocabulary_size} tokens and {spec.context_length} positions do "
            f"not fit the text tower, which has {words.vocab_size} and {words.max_position_embeddings}. Take all files "
            "from one model."
        )
    return LoadedTowers(model, device, dtype)


def load_model(spec: ModelSpec) -> Any:
    """The model in float32 on the CPU, for inference. Raises ModelError if its weights are damaged or do not fit.

    Pickled weights are read with `weights_only=True`, and code in the model's folder is never run.
    """
    with quiet():
        model, report = _read_model(spec)
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith(_UNUSED)]
    wrong = [*report["missing_keys"], *unexpected, *(str(item[0]) for item in report["mismatched_keys"])]
    if wrong:
        source = "its other weights" if spec.weights_file.endswith(".pt") else "config.json"
        raise ModelError(
            f"{Path(spec.folder) / spec.weights_file}: the weights do not fit {source} in {len(wrong)} places, "
            f"{sorted(wrong)[0]} first. Take all files from one model."
        )
    return model.eval()


def _read_model(spec: ModelSpec) -> tuple[Any, dict[str, Any]]:
    """The model in float32 on the CPU, whatever the stored format, and transformers' report on its keys."""
    path = Path(spec.folder) / spec.weights_file
    try:
        if path.suffix == ".pt":
            tree = original.read_architecture(path).config()
            source: Any = None
            given = {"config": _config(tree), "state_dict": original.load_state(path)}
        else:
            tree = json.loads((path.parent / "config.json").read_bytes())
            source, given = spec.folder, {"use_safetensors": ".safetensors" in spec.weights_file}
        model, report = _model_class(tree).from_pretrained(
            source,
            **given,
            dtype=torch.float32,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # reported instead, and refused above
            weights_only=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:  # transformers, torch, pickle and safetensors have no common base
        raise unreadable(path, error) from error
    return model, report


def _model_class(tree: dict[str, Any]) -> Any:
    """The class for a config.json."""
    # Each class is imported only when it is used: transformers' takes seconds.
    if tree["model_type"] == RESNET:
        from pipeline.model.towers.resnet import ResNetModel

        return ResNetModel
    from transformers import ChineseCLIPModel

    return ChineseCLIPModel


def _config(tree: dict[str, Any]) -> Any:
    """The configuration object for the tree of a config.json."""
    return _model_class(tree).config_class(**{key: value for key, value in tree.items() if key != "model_type"})


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
