"""The work in PyTorch as one writes it for speed: eager, with ``torch.compile`` or in bfloat16.

Tensors in memory, batches by index, no DataLoader; loss and accuracy are added up as tensors, as
the history needs them, and read once an epoch. Compiled are the network, its loss and its gradient,
for each size of batch by itself; convolutions then work on ``channels_last``, too.
"""

from __future__ import annotations

import itertools
from importlib.metadata import version

import torch
import turns
from torch import nn
from torch.nn import functional

VALIDATION_BATCH = 1000


def convnet(side: int, classes: int, *, normalized: bool) -> nn.Sequential:
    """Stack what ``turns.NETWORKS`` says, with PyTorch's own initial weights."""
    layers: list[nn.Module] = []
    channels = 1
    for filters in turns.FILTERS:
        layers.append(nn.Conv2d(channels, filters, 3, bias=not normalized))
        if normalized:
            layers.append(nn.BatchNorm2d(filters))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = filters, (side - 2) // 2
    features = channels * side * side
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(turns.DROPOUT), nn.Linear(features, classes)
    )


def network(sizes: list[int]) -> nn.Sequential:
    """Stack Linear and ReLU with Keras' initial weights: Glorot uniform, zero biases."""
    layers: list[nn.Module] = []
    for inputs, units in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, units)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def optimizer_of(model: nn.Module, given: turns.argparse.Namespace) -> torch.optim.Optimizer:
    """Make PyTorch's own optimiser of that name."""
    if given.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=given.learning_rate)
    momentum = turns.MOMENTUM if given.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), lr=given.learning_rate, momentum=momentum)


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    data = turns.load(given.data)
    train, validation = (torch.from_numpy(x) for x in data.floats())
    labels = torch.from_numpy(data.train_labels)
    validation_labels = torch.from_numpy(data.validation_labels)
    if given.network == "dense":
        model = network([train.shape[1], *given.units])
    else:
        side = round(train.shape[1] ** 0.5)
        train, validation = (x.reshape(-1, 1, side, side) for x in (train, validation))
        model = convnet(side, given.units[-1], normalized=given.network == "convnet-bn")
        if given.library in ("channels_last", "autocast", "compile"):
            model = model.to(memory_format=torch.channels_last)
            train, validation = (
                x.contiguous(memory_format=torch.channels_last) for x in (train, validation)
            )

    def judge(images: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=given.library == "autocast"):
            scores = model(images)
        scores = scores.float()
        return functional.cross_entropy(scores, wanted), scores

    if given.library == "compile":
        judge = torch.compile(judge, dynamic=False)
    optimizer = optimizer_of(model, given)

    def train_epoch() -> dict[str, float]:
        model.train()
        loss_sum = torch.zeros(())
        hits = torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(len(train)).split(given.batch_size):
            wanted = labels[rows]
            loss, scores = judge(train[rows], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(rows)
            hits += (scores.argmax(1) == wanted).sum()
        return {"loss": loss_sum.item() / len(train), "accuracy": hits.item() / len(train)}

    @torch.inference_mode()
    def validate() -> dict[str, float]:
        model.eval()
        loss, hits = 0.0, 0
        for first in range(0, len(validation), VALIDATION_BATCH):
            wanted = validation_labels[first : first + VALIDATION_BATCH]
            mean, scores = judge(validation[first : first + VALIDATION_BATCH], wanted)
            loss += mean.item() * len(wanted)
            hits += int((scores.argmax(1) == wanted).sum())
        return {"val_loss": loss / len(validation), "val_accuracy": hits / len(validation)}

    train_epoch()
    validate()
    talk.ready(versions={"torch": version("torch")}, threads=torch.get_num_threads())
    while True:
        talk.wait()
        numbers = train_epoch()
        train_seconds = talk.elapsed()
        talk.done(train_seconds=train_seconds, **numbers, **validate())


if __name__ == "__main__":
    main()
