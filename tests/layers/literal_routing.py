"""EM, dynamic and self-routing implemented capsule by capsule, as references of the layers.

Votes are dictionaries from (parent's window, child) to tensors ``[parent type, entry]``, and every sum over children or
parents is a loop. A child is (row, column, type) in the input map; children outside the map do not exist.
"""

import itertools

import torch
from torch.distributions import Normal


class Wiring:
    """The children of every window, with their offsets."""

    def __init__(self, height, width, types, kernel, stride, padding):
        self.out_height = (height + 2 * padding[0] - kernel[0]) // stride + 1
        self.out_width = (width + 2 * padding[1] - kernel[1]) // stride + 1
        self.kernel = kernel
        self.windows = list(itertools.product(range(self.out_height), range(self.out_width)))
        self.edges = {}
        for window in self.windows:
            for row, column, kind in itertools.product(range(kernel[0]), range(kernel[1]), range(types)):
                child = (window[0] * stride - padding[0] + row, window[1] * stride - padding[1] + column, kind)
                if 0 <= child[0] < height and 0 <= child[1] < width:
                    self.edges[window, child] = (row, column)

    def children(self, window):
        return [child for parent, child in self.edges if parent == window]

    def parents(self, child):
        return [window for window, other in self.edges if other == child]


def read(x, wiring, types, dim):
    """Poses and activations of the children of one sample, by child."""
    children = {child for _, child in wiring.edges}
    pose = {(r, c, n): x[n * dim : (n + 1) * dim, r, c] for r, c, n in children}
    activation = {(r, c, n): x[types * dim + n, r, c] for r, c, n in children} if len(x) > types * dim else None
    return pose, activation


def write(pose, activation, wiring):
    """The capsule map of one sample from parents' poses [type, entry] and activations [type] by window."""
    capsules = torch.stack([torch.cat([pose[w].flatten(), activation[w]]) for w in wiring.windows])
    return capsules.t().reshape(-1, wiring.out_height, wiring.out_width)


def share_among_parents(scores, wiring):
    """Softmax of ``scores`` [type] over the types of all windows of a child, by edge."""
    coefficients = {}
    for child in {child for _, child in wiring.edges}:
        windows = wiring.parents(child)
        coefficient = torch.softmax(torch.stack([scores[window, child] for window in windows]).flatten(), dim=0)
        for window, part in zip(windows, coefficient.reshape(len(windows), -1), strict=True):
            coefficients[window, child] = part
    return coefficients


def wire(layer, x):
    return Wiring(*x.shape[2:], layer.in_types, layer.kernel_size, layer.stride, layer.padding)


def literal_em(layer, x):
    """Hinton et al. 2018, procedure 1, with the parameters of an ``EMRouting``."""
    wiring = wire(layer, x)
    side = layer.weight.shape[2]
    shared = len(layer.weight) == 1 < layer.window or layer.coordinates.numel() > 0
    height, width = layer.kernel_size
    maps = []
    for sample in x:
        pose, activation = read(sample, wiring, layer.in_types, side**2)
        votes = {}
        for (window, child), (row, column) in wiring.edges.items():
            transform = layer.by_parent(layer.weight)[0 if shared else row * width + column, child[2]]
            vote = torch.stack([pose[child].reshape(side, side) @ transform[:, o] for o in range(layer.out_types)])
            if shared:
                place = torch.zeros(side, side, dtype=x.dtype)
                place[0, -1] = (row + 0.5) / height
                place[1, -1] = (column + 0.5) / width
                vote = vote + place
            votes[window, child] = vote.flatten(1)
        scores = {edge: torch.zeros(layer.out_types, dtype=x.dtype) for edge in votes}
        for iteration in range(layer.iterations):
            share = share_among_parents(scores, wiring)
            mean, active = {}, {}
            for window in wiring.windows:
                children = wiring.children(window)
                weights = [(share[window, child] * activation[child])[:, None] for child in children]
                mass = sum(weights)
                mean[window] = sum(w * votes[window, c] for w, c in zip(weights, children, strict=True)) / mass
                squares = [(votes[window, c] - mean[window]) ** 2 for c in children]
                variance = sum(w * s for w, s in zip(weights, squares, strict=True)) / mass + 1e-5
                deviation = variance.sqrt()
                cost = ((layer.beta_u[:, None] + deviation.log()) * mass).sum(dim=1)
                temperature = layer.inverse_temperature * (1 - 0.95 ** (iteration + 1))
                active[window] = torch.sigmoid(temperature * (layer.beta_a - cost))
                for child in children:
                    density = Normal(mean[window], deviation).log_prob(votes[window, child]).sum(dim=1)
                    scores[window, child] = active[window].log() + density
        maps.append(write(mean, active, wiring))
    return torch.stack(maps)


def literal_dynamic(layer, x):
    """Sabour et al. 2017, procedure 1, with the parameters of a ``DynamicRouting``."""
    wiring = wire(layer, x)
    maps = []
    for sample in x:
        pose, _ = read(sample, wiring, layer.in_types, layer.in_dim)
        votes = {
            (window, child): torch.einsum(
                'd,doe->oe', pose[child], layer.by_parent(layer.weight)[r * layer.kernel_size[1] + c, child[2]]
            )
            for (window, child), (r, c) in wiring.edges.items()
        }
        agreement = {edge: torch.zeros(layer.out_types, dtype=x.dtype) for edge in votes}
        for _ in range(layer.iterations):
            coupling = share_among_parents(agreement, wiring)
            parents, lengths = {}, {}
            for window in wiring.windows:
                total = sum(coupling[window, c][:, None] * votes[window, c] for c in wiring.children(window))
                length = total.norm(dim=1, keepdim=True)
                parents[window] = length**2 / (1 + length**2) * total / length
                lengths[window] = parents[window].norm(dim=1)
            agreement = {
                (window, child): score + (votes[window, child] * parents[window]).sum(dim=1)
                for (window, child), score in agreement.items()
            }
        maps.append(write(parents, lengths, wiring))
    return torch.stack(maps)


def literal_self(layer, x):
    """Hahn et al. 2019, eqs. of Sec. 3, with the parameters of a ``SelfRouting``."""
    wiring = wire(layer, x)
    maps = []
    for sample in x:
        pose, activation = read(sample, wiring, layer.in_types, layer.in_dim)
        parents, active = {}, {}
        for window in wiring.windows:
            total = mass = whole = 0
            for child in wiring.children(window):
                row, column = wiring.edges[window, child]
                offset = row * layer.kernel_size[1] + column
                route = torch.softmax(pose[child] @ layer.weight[offset, child[2]], dim=0) * activation[child]
                vote = torch.einsum('d,doe->oe', pose[child], layer.by_parent(layer.transform)[offset, child[2]])
                total = total + route[:, None] * vote
                mass = mass + route
                whole = whole + activation[child]
            parents[window] = total / mass[:, None]
            active[window] = mass / whole
        maps.append(write(parents, active, wiring))
    return torch.stack(maps)
