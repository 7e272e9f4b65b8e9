"""Train the demo model: a small Chinese CLIP, trained on the drawings of all emoji vendors except one.

In: the packages of `emoji_sources`. Out: `demo/model/`, loadable by `ChineseCLIPModel.from_pretrained`,
with a model card and `metrics.json`: recalls between the held-out vendor's drawings and their Chinese
names. It trains in well under an hour on two CPU cores, thanks to many drawing styles, strong augmentation,
every class as a negative in every step (`proxies`), half of the image patches dropped until the last part,
and averaged weights.
"""

import argparse
import copy
import json
import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from augment import augment
from demo_model import IMAGE_SIDE_PX, new_model, save_model, save_vocabulary, tokenizer, tokens, vocabulary
from emoji_sources import DEFAULT_CACHE, HELD_OUT
from evaluate import Recalls, recalls
from model_card import write_card
from objective import batch_loss, class_loss, embed_images, embed_texts, schedule
from torch import Tensor
from torch.nn import functional
from training_data import (
    FLIPPABLE_GROUPS,
    TEMPLATES,
    TextSampler,
    all_concepts,
    held_out_corpus,
    training_corpus,
)
from transformers import ChineseCLIPModel

HERE = Path(__file__).parent
MAX_LOGIT_SCALE = math.log(100)
KEPT_PATCHES = 0.5
WHOLE_IMAGES_FROM = 0.8
AVERAGING = 0.997
logger = logging.getLogger("train_model")


@dataclass(frozen=True)
class Plan:
    """Settings of a training run."""

    steps: int
    max_minutes: float
    batch: int
    learning_rate: float
    weight_decay: float
    seed: int
    save_early_at: int
    evaluate_every: int
    start_from: Path | None


def main() -> None:
    """Parse the command line, train, save."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the downloaded npm packages")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="output folder of the model")
    parser.add_argument("--steps", type=int, default=4000, help="steps, unless --max-minutes ends training first")
    parser.add_argument("--max-minutes", type=float, default=38, help="time limit: the schedule ends by then")
    parser.add_argument("--batch", type=int, default=256, help="image-text pairs per step, each of another concept")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--save-early-at", type=int, default=800, help="step at which an early checkpoint is saved")
    parser.add_argument("--evaluate-every", type=int, default=500, help="steps between evaluations")
    parser.add_argument("--start-from", type=Path, help="folder of a saved model to train further")
    options = vars(parser.parse_args())
    cache, out = options.pop("cache"), options.pop("out")
    Trainer(Plan(**options), cache, out).run()


class Trainer:
    """One training run with its data, model and optimizers."""

    def __init__(self, plan: Plan, cache: Path, out: Path) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.out = plan, out
        self.known = all_concepts(cache)
        self.corpus = training_corpus(self.known, cache, IMAGE_SIDE_PX)
        self.drawings = self.corpus.by_concept(len(self.known))
        self.held_out = held_out_corpus(self.known, cache, IMAGE_SIDE_PX)
        self.texts = TextSampler(self.known, random.Random(plan.seed))
        self.numpy_rng = np.random.default_rng(plan.seed)
        self.torch_rng = torch.Generator().manual_seed(plan.seed)
        pieces = vocabulary([*self.texts.number, *TEMPLATES, "，。！？、；：（）《》…—·的了是在有和不"])
        save_vocabulary(out, pieces)
        self.tokenizer = tokenizer(out)
        self.model, self.previous = self._first_model(len(pieces))
        self.average = copy.deepcopy(self.model).eval()
        self.proxies = self._first_proxies().requires_grad_()
        self.optimizers = self._optimizers()
        self.started = time.monotonic()

    def run(self) -> None:
        """Train until all steps are done or time is up; save an early checkpoint and the final one."""
        step, progress = 0, 0.0
        while progress < 1:
            loss = self._step(progress)
            step += 1
            self._update_average(step)
            if step % self.plan.evaluate_every == 0:
                found = self._measure(self.average)
                logger.info("step %d, %.0f s, loss %.2f: %s", step, self._seconds(), loss, found)
            if step == self.plan.save_early_at:
                self._save(step)
            progress = max(step / self.plan.steps, self._seconds() / (60 * self.plan.max_minutes))
        self._save(step)

    def _first_model(self, vocabulary_size: int) -> tuple[ChineseCLIPModel, dict[str, int]]:
        """The initial model, and the steps and seconds of its previous training."""
        folder = self.plan.start_from
        if folder is None:
            return new_model(vocabulary_size), {"steps": 0, "seconds": 0}
        model = ChineseCLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        return model.train(), json.loads((folder / "metrics.json").read_text(encoding="utf-8"))

    def _first_proxies(self) -> Tensor:
        """Initial class vectors: random for a new model, the embedded names for a trained one."""
        if self.plan.start_from is None:
            return 0.1 * torch.randn(len(self.known), self.model.config.projection_dim)
        with torch.no_grad():
            return embed_texts(self.average, tokens([concept.name for concept in self.known], self.tokenizer))

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices between layers, AdamW for the rest; both at the same learning rate."""
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if ".encoder." in name and p.ndim == 2]
        rest = [p for name, p in named if not (".encoder." in name and p.ndim == 2)] + [self.proxies]
        rate, decay = self.plan.learning_rate, self.plan.weight_decay
        return [
            torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=rate, weight_decay=decay, betas=(0.9, 0.98)),
        ]

    def _step(self, progress: float) -> float:
        self._set_rate(self.plan.learning_rate * schedule(progress))
        keep = KEPT_PATCHES if progress < WHOLE_IMAGES_FROM else 1.0
        classes = self.numpy_rng.choice(len(self.known), self.plan.batch, replace=False).tolist()
        texts, fits = self.texts.draw(classes)
        with torch.autocast("cpu", torch.bfloat16):
            image = embed_images(self.model, self._images(classes), keep, self.torch_rng)
            text = embed_texts(self.model, tokens(texts, self.tokenizer))
        scale = self.model.logit_scale.exp()
        every_class = scale * functional.normalize(self.proxies, dim=-1).T
        loss = batch_loss(image, text, fits[:, classes].T, scale)
        loss = loss + class_loss(image, text, torch.tensor(classes), fits, every_class)
        self._descend(loss)
        return float(loss.detach())

    def _set_rate(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _descend(self, loss: Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)

    def _images(self, classes: list[int]) -> Tensor:
        choices = [self.texts.rng.choices(*self.drawings[number])[0] for number in classes]
        flippable = torch.tensor([self.known[number].group in FLIPPABLE_GROUPS for number in classes])
        return augment(torch.from_numpy(self.corpus.pixels[choices]), flippable, self.torch_rng)

    def _update_average(self, step: int) -> None:
        decay = min(AVERAGING, step / (step + 20))
        with torch.no_grad():
            for mean, current in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(current, 1 - decay)

    def _measure(self, model: ChineseCLIPModel) -> Recalls:
        names = [concept.name for concept in self.known]
        return recalls(model, self.tokenizer, self.held_out.pixels, names)

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _save(self, step: int) -> None:
        save_model(self.out, copy.deepcopy(self.average))
        saved = ChineseCLIPModel.from_pretrained(self.out, dtype=torch.float32).eval()
        metrics = {
            "held_out_vendor": HELD_OUT,
            "candidates": len(self.known),
            **asdict(self._measure(saved)),
            "steps": self.previous["steps"] + step,
            "batch": self.plan.batch,
            "seed": self.plan.seed,
            "seconds": self.previous["seconds"] + round(self._seconds()),
            "parameters": sum(parameter.numel() for parameter in saved.parameters()),
            "training_images": len(self.corpus.pixels),
        }
        (self.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        write_card(self.out, metrics)
        logger.info("saved after %d steps: %s", step, metrics)


if __name__ == "__main__":
    main()
