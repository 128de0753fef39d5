"""PyTorch on the CPU: one-bit weights and activations by straight-through estimators.

Run by train_speed.py in its own environment. The fused Adam and a single gather a batch are used,
as they are the fastest of PyTorch's own ways; --compile adds torch.compile, --bf16 autocast.
"""

import torch
import torch.nn.functional as F

import torch_nets
import train_nets
import workload


def train_batch(forward, weights, optimizer, images, labels):
    """One step: forward, backward, Adam, latent weights clipped to [-1, 1]."""
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(forward(images), labels)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for weight in weights:
            weight.clamp_(-1, 1)
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
    net = torch_nets.build(options.net)
    weights = torch_nets.binary_weights(net)
    train_nets.check_binary_weights(options.net, sum(weight.numel() for weight in weights))
    compiled = torch.compile(net, dynamic=False) if options.compile else net
    rate = train_nets.NETS[options.net].learning_rate
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)

    def in_bf16(images):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = compiled(images)
        return scores.float()

    forward = in_bf16 if options.bf16 else compiled

    def step(images, labels):
        return train_batch(forward, weights, optimizer, images, labels)

    n_warm = workload.n_warm_images(options, len(images))
    train_epoch(step, images[:n_warm], labels[:n_warm], options.batch)
    clock = workload.EpochClock()
    for _ in range(options.epochs):
        clock.start()
        mean_loss = train_epoch(step, images, labels, options.batch)
        clock.stop(mean_loss)
    workload.answer(clock, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
