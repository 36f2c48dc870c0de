"""Train a network on scikit-learn's digits (1797 images of 8x8): `python examples/train_digits.py --model cnn`.

Forward, backward and the optimizer's update are one native program (`hs.compile`). Needs scikit-learn for its data.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

import heliostat as hs
from heliostat import nn, optim


def digits(test_share: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images (N, 64) f32 from 0 to 1 and labels (N,) i64, and the same for testing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SystemExit("this example needs scikit-learn: pip install scikit-learn") from None
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    cut = round(len(images) * (1 - test_share))
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def network(kind: str) -> nn.Module:
    """A network from images (N, 64) to logits (N, 10)."""
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
        )  # fmt: skip
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 16, 10),
    )  # fmt: skip


def train(kind: str, epochs: int, batch: int = 64, lr: float = 1e-3, seed: int = 0) -> float:
    """Accuracy on the test images after training."""
    hs.manual_seed(seed)
    x_train, y_train, x_test, y_test = digits()
    model, loss_of = network(kind), nn.CrossEntropyLoss()
    optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    @hs.compile
    def step(x: hs.Tensor, y: hs.Tensor) -> hs.Tensor:
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(seed)
    accuracy = 0.0
    for epoch in range(epochs):
        model.train()
        started, losses = time.perf_counter(), []
        order = rng.permutation(len(x_train))
        for at in range(0, len(order) - batch + 1, batch):
            rows = order[at : at + batch]
            losses.append(step(hs.from_numpy(x_train[rows]), hs.from_numpy(y_train[rows])))
        mean = float(hs.stack(losses).mean())
        schedule.step()
        model.eval()
        with hs.no_grad():
            guessed = model(hs.from_numpy(x_test)).argmax(1).numpy()
        accuracy = float((guessed == y_test).mean())
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch + 1:3}: loss {mean:.4f}, test accuracy {100 * accuracy:.2f} %, {seconds:.2f} s", flush=True
        )
    return accuracy


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args(arguments)
    train(args.model, args.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
