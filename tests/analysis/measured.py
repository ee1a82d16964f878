"""Modules whose parameters, multiply-adds and memory are known, for tests of the benchmark."""

import os
import time

import torch
from torch import nn


class Saves(nn.Module):
    """Keeps the output of every layer for the backward pass, and nothing else."""

    def __init__(self, layers):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.layers = layers

    def forward(self, x):
        x = x * self.scale
        for _ in range(self.layers):
            x = torch.sigmoid(x)
        return x


class Notes(nn.Module):
    """Records how it is called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv(x)
        self.x, self.y = x, y
        return {'outputs': (y, [y.mean()])}


class Sleeps(nn.Identity):
    def forward(self, x):
        time.sleep(0.02)
        return x


class Logs(nn.Identity):
    """Writes its letter for every batch of two."""

    def __init__(self, letter, path):
        super().__init__()
        self.letter, self.path = letter, path

    def forward(self, x):
        if len(x) == 2:
            with open(self.path, 'a') as file:
                file.write(self.letter)
        return x


class Fails(nn.Identity):
    """Fails to train on a batch of eight: its process ends, or an error is raised."""

    def __init__(self, dies):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dies = dies

    def forward(self, x):
        if len(x) == 8 and self.dies:
            os._exit(1)
        if len(x) == 8:
            raise torch.OutOfMemoryError('too much')
        return x * self.scale


class Counts(nn.Module):
    """Records whether it is run by the compiler, and PyTorch's settings."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.runs = []

    def forward(self, x):
        if torch.compiler.is_compiling():
            return self.linear(x)
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        self.runs.append((cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark))
        return self.linear(x)


class Multiplies(nn.Sequential):
    def __init__(self, size=8):
        super().__init__(nn.Conv2d(size, size, 1, bias=False))


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x + 1


class Stays(nn.Identity):
    def forward(self, x):
        print('staying', flush=True)
        time.sleep(60)


nothing = None
