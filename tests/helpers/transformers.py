"""Transformers for images as plain modules: ViT with a class token, and Swin with shifted windows."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens `(N, L, C)`, by hand or by the fused function."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        batch, length, width = tokens.shape
        parts = self.qkv(tokens).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused and bias is None:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(-2, -1) / (width // self.heads) ** 0.5
            mixed = (scores if bias is None else scores + bias).softmax(-1) @ value
        output: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return output


class Block(nn.Module):
    """Attention and an MLP, each with a norm before it and a skip connection."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, fused=fused)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        output: Tensor = tokens + self.mlp(self.norm2(tokens))
        return output


class ViT(nn.Module):
    """A vision transformer with a class token and learned positions (arXiv 2010.11929)."""

    def __init__(self, width: int = 16, depth: int = 2, *, fused: bool = True, token: bool = True) -> None:
        super().__init__()
        self.token = token
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.cls = nn.Parameter(torch.rand(1, 1, width))
        self.positions = nn.Parameter(torch.rand(1, 64 + token, width))
        self.blocks = nn.ModuleList(Block(width, 2, fused=fused) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if self.token:
            tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)
        tokens = tokens + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        logits: Tensor = self.head(tokens[:, 0] if self.token else tokens.mean(1))
        return logits


class SwinBlock(nn.Module):
    """Attention inside windows, which every second block shifts (arXiv 2103.14030)."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift, self.heads = window, shift, heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, fused=False)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.table = nn.Parameter(torch.rand((2 * window - 1) ** 2, heads))
        self.index: Tensor
        places = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        relative = (places[:, :, None] - places[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", relative[..., 0] * (2 * window - 1) + relative[..., 1])

    def mask(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Return zeros, and -100 between tokens of different regions."""
        regions = tokens.new_zeros((1, height, width, 1))
        count = 0
        for rows in self.slices():
            for columns in self.slices():
                regions[:, rows, columns, :] = count
                count += 1
        windows = partition(regions, self.window).squeeze(-1)
        return (windows.unsqueeze(1) - windows.unsqueeze(2)).ne(0).float().mul(-100.0)

    def slices(self) -> tuple[slice, ...]:
        return slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None)

    def forward(self, maps: Tensor) -> Tensor:
        batch, height, width, _ = maps.shape
        shifted = self.norm1(maps)
        bias = self.table[self.index.reshape(-1)].reshape(*self.index.shape, -1).permute(2, 0, 1).unsqueeze(0)
        if self.shift:
            shifted = torch.roll(shifted, (-self.shift, -self.shift), (1, 2))
            bias = bias + self.mask(shifted, height, width).repeat(batch, 1, 1).unsqueeze(1)
        windows = self.attention(partition(shifted, self.window), bias.to(maps.dtype))
        mixed = merge(windows, self.window, height, width)
        if self.shift:
            mixed = torch.roll(mixed, (self.shift, self.shift), (1, 2))
        maps = maps + mixed
        output: Tensor = maps + self.mlp(self.norm2(maps))
        return output


def partition(maps: Tensor, window: int) -> Tensor:
    """Divide maps `(N, H, W, C)` into windows of tokens `(N * windows, window ** 2, C)`."""
    batch, height, width, channels = maps.shape
    parts = maps.view(batch, height // window, window, width // window, window, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def merge(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Put windows of tokens together to maps `(N, H, W, C)`."""
    channels = windows.shape[-1]
    parts = windows.view(-1, height // window, width // window, window, window, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        parts = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduce(self.norm(torch.cat(parts, -1)))
        return merged


class Swin(nn.Module):
    """A Swin transformer of two stages; `shifts` of both blocks of the first."""

    def __init__(self, width: int = 8, *, window: int = 4, shifts: tuple[int, ...] = (0, 2)) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, stride=2)
        self.stage1 = nn.Sequential(*(SwinBlock(width, 2, window, shift) for shift in shifts))
        self.merging = PatchMerging(width)
        self.stage2 = SwinBlock(2 * width, 2, window, 0)
        self.norm, self.head = nn.LayerNorm(2 * width), nn.Linear(2 * width, 10)

    def features(self, images: Tensor) -> Tensor:
        maps = self.patches(images).permute(0, 2, 3, 1)
        output: Tensor = self.norm(self.stage2(self.merging(self.stage1(maps))))
        return output.permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits
