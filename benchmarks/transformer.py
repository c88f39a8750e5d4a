"""The transformer a user would pick instead: Hugging Face's VisionEncoderDecoderModel, trained from random weights on
the same images and words for a given time: `python benchmarks/transformer.py --data DIR --out DIR --minutes 10`.

Needs `pip install -e '.[benchmarks]'` (PyTorch and transformers), in an environment of its own if need be: TensorFlow
is not used here. A ViT reads patches of 16 pixels, a GPT-2 with cross-attention generates; both small enough for a CPU.
The best weights by validation loss write `valid/predictions.csv` and `test/predictions.csv`.

Axes: B images, S pixels a side, T tokens.
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from medcap_tf.data import images
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.text import END, PAD, START, UNK, Normalizer, Vocabulary

BATCH, LENGTH = 32, 30


def main() -> None:
    """Train for the time given, then caption the validation and test images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10, help="of training (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    found = read_dataset(chosen.data).splits
    splits = {name: [r for r in found[name] if r.caption] for name in ("train", "valid", "test")}
    vocabulary = Vocabulary.build((r.caption for r in splits["train"]), Normalizer(), 1)
    model = build(len(vocabulary), chosen.image_size)
    train(model, splits["train"], splits["valid"], vocabulary, chosen)
    for split in ("valid", "test"):
        captions = write(model, splits[split], vocabulary, chosen.image_size)
        save(chosen.out / split / "predictions.csv", splits[split], captions)
    print(chosen.out)


def build(words: int, size: int) -> VisionEncoderDecoderModel:
    """ViT (Dosovitskiy et al. 2021) and GPT-2 (Radford et al. 2019) of width 256: 6 and 4 layers."""
    encoder = ViTConfig(
        image_size=size, patch_size=16, hidden_size=256, num_hidden_layers=6, num_attention_heads=4,
        intermediate_size=1024, hidden_dropout_prob=0.1,
    )  # fmt: skip
    decoder = GPT2Config(
        vocab_size=words, n_positions=LENGTH + 2, n_embd=256, n_layer=4, n_head=4, add_cross_attention=True,
        is_decoder=True, bos_token_id=START, eos_token_id=END, pad_token_id=PAD,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    model.config.decoder_start_token_id, model.config.pad_token_id = START, PAD
    return model


def train(model: VisionEncoderDecoderModel, train: list[Record], valid: list[Record], vocabulary: Vocabulary, chosen):
    """AdamW with cosine decay over the time given; keeps the weights of the best validation loss in the model."""
    rng, began = np.random.default_rng(chosen.seed), time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05)
    best, state, epoch = float("inf"), copy.deepcopy(model.state_dict()), 0
    spent = 0.0
    while spent < 1:
        epoch += 1
        model.train()
        order = rng.permutation(len(train))
        for start in range(0, len(order), BATCH):
            spent = (time.monotonic() - began) / (60 * chosen.minutes)
            optimizer.param_groups[0]["lr"] = 3e-4 * (0.01 + 0.99 * (1 + np.cos(np.pi * min(1, spent))) / 2)
            records = [train[i] for i in order[start : start + BATCH]]
            loss = _loss(model, _pixels(records, chosen.image_size, rng), records, vocabulary)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if spent >= 1:
                break
        model.eval()
        with torch.no_grad():
            parts = [valid[i : i + BATCH] for i in range(0, len(valid), BATCH)]
            loss = np.mean([_loss(model, _pixels(p, chosen.image_size), p, vocabulary).item() for p in parts])
        print(f"epoch {epoch}  {spent:4.0%} of the time  valid_loss {loss:.4f}", file=sys.stderr, flush=True)
        if loss < best:
            best, state = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)


def write(model: VisionEncoderDecoderModel, records: list[Record], vocabulary: Vocabulary, size: int) -> list[str]:
    """Beam search of width 3: readable captions."""
    model.eval()
    captions = []
    for start in range(0, len(records), BATCH):
        with torch.no_grad():
            found = model.generate(
                _pixels(records[start : start + BATCH], size), num_beams=3, max_length=LENGTH, bos_token_id=START,
                eos_token_id=END, pad_token_id=PAD, decoder_start_token_id=START, suppress_tokens=[UNK],
            )  # fmt: skip
        captions += [" ".join(vocabulary.readable(vocabulary.decode(row))) for row in found.tolist()]
    return captions


def save(path: Path, records: list[Record], captions: list[str]) -> None:
    """`predictions.csv` (ID,Caption)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ID", "Caption"])
        writer.writerows(zip((record.image_id for record in records), captions))


def _loss(model, pixels: torch.Tensor, records: list[Record], vocabulary: Vocabulary) -> torch.Tensor:  # type: ignore[no-untyped-def]
    rows = [[START, *vocabulary.encode(record.caption, LENGTH - 1), END] for record in records]
    words = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, ids in enumerate(rows):
        words[row, : len(ids)] = torch.tensor(ids)
    # The model's own loss moves the labels by one word, after it has moved its inputs already: it would learn to leave
    # out every other word.
    logits = model(pixel_values=pixels, decoder_input_ids=words[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=PAD)


_POOL = ThreadPoolExecutor()


def _pixels(records: list[Record], size: int, rng: np.random.Generator | None = None) -> torch.Tensor:
    """float32 [B, 3, S, S] in -1..1; with random crops and horizontal flips where `rng` is given."""

    def load(record: Record, draws: np.random.Generator | None) -> np.ndarray:
        image = images.read_image(record.image_path)
        if draws is not None:
            image = images.random_view(image, draws, horizontal_flip=True, vertical_flip=False, crop=0.8)
        return images.prepare(image, size, False)

    draws = rng.spawn(len(records)) if rng else [None] * len(records)
    stacked = np.stack(list(_POOL.map(load, records, draws)))
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()
