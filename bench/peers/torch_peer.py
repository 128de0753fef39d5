"""PyTorch on the CPU: one-bit weights and activations by straight-through estimators.

Run by train_speed.py in its own environment. The fused Adam and a single gather a batch are used,
as they are the fastest of PyTorch's own ways; --compile adds torch.compile.
"""

import torch
import torch.nn.functional as F
from torch import nn

import workload


class Sign(torch.autograd.Function):
    """sign with sign(0) = +1 forward; the gradient passes where |x| <= 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class BinaryLinear(nn.Linear):
    """A linear layer that multiplies by the signs of its weights."""

    def forward(self, x):
        return F.linear(x, Sign.apply(self.weight))


class BinaryNet(nn.Module):
    """Binary linear, batch norm, sign, for each hidden layer; scores are normalised, not signed."""

    def __init__(self):
        super().__init__()
        pairs = list(zip(workload.WIDTHS, workload.WIDTHS[1:]))
        self.linears = nn.ModuleList(BinaryLinear(n_in, n_out, bias=False) for n_in, n_out in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_out) for _, n_out in pairs)

    def forward(self, x):
        last = len(self.linears) - 1
        for idx, (linear, norm) in enumerate(zip(self.linears, self.norms)):
            x = norm(linear(x))
            if idx < last:
                x = Sign.apply(x)
        return x


def train_batch(net, forward, optimizer, images, labels):
    """One step: forward, backward, Adam, latent weights clipped to [-1, 1]."""
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(forward(images), labels)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for linear in net.linears:
            linear.weight.clamp_(-1, 1)
    return loss.detach()


def train_epoch(step, images, labels, batch):
    """One pass in random order, the last, shorter batch included. Out: the mean loss."""
    losses = []
    for rows in torch.randperm(len(images)).split(batch):
        losses.append(step(images[rows], labels[rows]))
    return torch.stack(losses).mean().item()


def main():
    options = workload.options(__doc__)
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    images, labels = map(torch.from_numpy, workload.images_and_labels(options))
    net = BinaryNet()
    forward = torch.compile(net, dynamic=False) if options.compile else net
    optimizer = torch.optim.Adam(net.parameters(), lr=workload.LEARNING_RATE, fused=True)

    def step(images, labels):
        return train_batch(net, forward, optimizer, images, labels)

    # Warm up on both batch sizes of an epoch.
    n_warm = 2 * options.batch + len(images) % options.batch
    train_epoch(step, images[:n_warm], labels[:n_warm], options.batch)
    clock = workload.EpochClock()
    for _ in range(options.epochs):
        clock.start()
        mean_loss = train_epoch(step, images, labels, options.batch)
        clock.stop(mean_loss)
    workload.answer(clock, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
