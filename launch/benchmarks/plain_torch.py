"""The side of PyTorch: networks, measurements and loops as plain and competent users write them."""

from launch.benchmarks.inputs import BATCH, PROBE, TRAIN, synthetic


def peak_torch(steps, m, k, n):
    """Make a function that computes 100 products [m, k] x [k, n] per step by PyTorch."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.ones(m, k), torch.ones(k, n)

    def run():
        for _ in range(100 * steps):
            torch.mm(a, b)

    return run


def torch_network(arch_name):
    """Build the architecture in PyTorch, as users of the earlier system would write it."""
    import torch
    from torch import nn

    from tapjax.contract.architectures import parse_architecture, pooled_sides

    arch = parse_architecture(arch_name)
    if arch.family == "mlp":
        sizes = (784, *arch.widths)
        layers = [nn.Flatten()]
        for i, o in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(i, o), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))
    if arch.family == "cnn":
        sizes, layers = (3, *arch.widths), []
        for i, o in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        side = pooled_sides(32, len(arch.widths))[-1]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(side**2 * sizes[-1], 10))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            width = arch.widths[0]
            self.embed = nn.Linear(49, width)
            self.position = nn.Parameter(torch.randn(16, width))
            block = nn.TransformerEncoderLayer(
                width, arch.heads, 4 * width, dropout=0.1, batch_first=True
            )
            self.blocks = nn.TransformerEncoder(block, len(arch.widths), enable_nested_tensor=False)
            self.head = nn.Linear(width, 10)

        def forward(self, x):
            h = self.embed(x.reshape(len(x), 16, 49)) + self.position
            return self.head(self.blocks(h).mean(1))

    return Transformer()


def torch_metrics(a, competent):
    """Compute the four dimensionalities of a matrix of activations.

    Args:
      a: activations, [N, D].
      competent: True for the eigenvalues of one Gram matrix in float64; False for three full
        decompositions.

    Returns:
      (stable rank, participation ratio, effective rank at 90 % of the energy, nuclear norm ratio).
    """
    import torch

    if competent:
        wide = a.double()
        gram = wide.T @ wide if len(a) >= a.shape[1] else wide @ wide.T
        s = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)
        spectral = {"pr": s, "rank": s, "nuclear": s}
    else:
        spectral = {
            name: torch.linalg.svd(a, full_matrices=False)[1] for name in ("pr", "rank", "nuclear")
        }
    energy = torch.cumsum(spectral["rank"] ** 2, 0)
    return (
        (torch.norm(a) ** 2 / spectral["pr"][0] ** 2).item(),
        (spectral["pr"].sum() ** 2 / (spectral["pr"] ** 2).sum()).item(),
        int((energy / energy[-1] < 0.9).sum()) + 1,
        (spectral["nuclear"].sum() / spectral["nuclear"][0]).item(),
    )


def torch_loop(arch, steps, every=5, competent=False):
    """Make a PyTorch loop with hooks on every Linear and Conv2d, as in the earlier system.

    Args:
      arch: architecture.
      steps: training steps per call.
      every: steps between measurements; 0 for no measurements.
      competent: False for the loop of a plain user. True for fused Adam, one call for all gradient
        norms, images in channels_last, hooks that stay, and one decomposition per matrix.

    Returns:
      A function without arguments.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = torch_network(arch)
    x, y = synthetic(arch)
    x = torch.tensor(x).permute(0, 3, 1, 2).float().sub(128).div(70).contiguous()
    y = torch.tensor(y, dtype=torch.long)
    if competent:
        net, x = (a.to(memory_format=torch.channels_last) for a in (net, x))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=competent)
    probe = x[:PROBE].split(64)
    hooked = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    seen = {}

    def capture(name):
        def hook(module, inputs, output):
            if not net.training:
                seen.setdefault(name, []).append(output.detach())

        return hook

    def hook_all():
        return [m.register_forward_hook(capture(i)) for i, m in enumerate(hooked)]

    if competent and every:
        hook_all()

    def measure():
        net.eval()
        seen.clear()
        handles = [] if competent else hook_all()
        with torch.no_grad():
            for part in probe:
                net(part)
        for handle in handles:
            handle.remove()
        rows = []
        for parts in seen.values():
            a = torch.cat(parts)
            rows.append(torch_metrics(a.reshape(*a.shape[:2], -1).mean(2), competent))
        net.train()
        return rows

    def norm_of_gradients():
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        if competent:
            return torch.nn.utils.get_total_norm(grads)
        return sum(grad.norm() ** 2 for grad in grads) ** 0.5

    def run():
        order = torch.randperm(TRAIN)
        for step in range(steps):
            at = (step * BATCH) % (TRAIN - BATCH)
            index = order[at : at + BATCH] + PROBE
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            norm = norm_of_gradients()
            optimizer.step()
            loss.item(), norm.item()
            if every and step % every == 0:
                measure()

    return run
