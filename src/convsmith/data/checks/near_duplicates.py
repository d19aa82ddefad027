"""Near-duplicates: flipped, rotated, shifted, brighter, duller, noisier or recompressed copies of an image.

Candidates have similar spectra: a shift does not change the amplitudes of a Fourier transform, flips and
rotations only exchange some of them, and brightness and contrast scale them. The pixels of candidates are
then aligned and correlated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.system.progress import track

# The largest shift as a share of the side of a thumbnail.
LARGEST_SHIFT = 1 / 8
# What makes a pair: the correlation of its pixels, and their difference in levels of 0 to 255.
SMALLEST_CORRELATION, LARGEST_DIFFERENCE = 0.96, 10.0
# Candidates of each image, and the least similarity of their spectra in a data set of many images.
_CANDIDATES, _SIMILARITY, _MANY = 4, 0.6, 2048
# The highest frequencies of brightness and of colour that count: recompression changes higher ones.
_BRIGHTNESS, _COLOUR = 6, 2
_CHUNK = 2048


@dataclass(frozen=True, kw_only=True)
class NearPair:
    """Two images, by their positions, that are nearly equal.

    Attributes:
        image: The position of an image.
        other: The position of the other one.
        correlation: Of their pixels after the best flip, rotation and shift; at most 1.
        difference: Root mean square of the differences of pixels in levels of 0 to 255, with equal brightness
            and contrast.
    """

    image: int
    other: int
    correlation: float
    difference: float


def near_pairs(thumbnails: NDArray[np.uint8], others: NDArray[np.uint8] | None = None) -> list[NearPair]:
    """Find near-duplicates among images, or between them and other images.

    For each image, the four images of the most similar spectrum are compared. The time grows with the square
    of the number of images, at about a hundred multiplications for each pair.

    Args:
        thumbnails: `(N, S, S, C)`.
        others: `(M, S, S, C)`; by default the images themselves.

    Returns:
        Pairs by position, the closest of an image first; `other` is below `image` if there are no others.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
        >>> images[2] = images[0, ::-1] // 2
        >>> [(pair.other, pair.image) for pair in near_pairs(images)]
        [(0, 2)]
    """
    within = others is None
    others = thumbnails if others is None else others
    if not len(thumbnails) or not len(others):
        return []
    spectra = _standardized(_spectra(others), _spectra(thumbnails))
    pairs = np.concatenate([np.empty((0, 2), np.int64), *_candidates(*spectra, within=within)])
    if within:
        # Each pair once, the earlier image last.
        pairs = np.unique(np.sort(pairs, axis=1)[:, ::-1], axis=0)
    found = []
    starts = range(0, len(pairs), _CHUNK)
    for start in track(starts, "Comparing near-duplicates, blocks", len(starts)):
        part = pairs[start : start + _CHUNK]
        correlations, differences = _compare(_floats(thumbnails[part[:, 0]]), _floats(others[part[:, 1]]))
        near = (correlations >= SMALLEST_CORRELATION) & (differences <= LARGEST_DIFFERENCE)
        for index in near.nonzero().flatten().tolist():
            image, other = map(int, part[index])
            values = float(correlations[index]), float(differences[index])
            found.append(NearPair(image=image, other=other, correlation=values[0], difference=values[1]))
    return sorted(found, key=lambda pair: (pair.image, -pair.correlation))


def _floats(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def _candidates(others: Tensor, images: Tensor, *, within: bool) -> Iterator[NDArray[np.int64]]:
    """Yield pairs of similar spectra: positions in `images` and in `others`."""
    least = _SIMILARITY if len(others) > _MANY else -1.0
    starts = range(0, len(images), _CHUNK)
    for start in track(starts, "Searching near-duplicates, blocks", len(starts)):
        similarities = images[start : start + _CHUNK] @ others.T
        if within:
            similarities.diagonal(start).fill_(-2)
        values, places = similarities.topk(min(_CANDIDATES, len(others)), sorted=False)
        row, column = (values >= least).nonzero(as_tuple=True)
        yield torch.stack([start + row, places[row, column]], 1).numpy()


def _standardized(others: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = others.mean(0), others.std(0, correction=0).clamp_min(1e-6)
    vectors = [(each - mean) / std for each in (others, images)]
    first, second = (each / each.norm(dim=1, keepdim=True).clamp_min(1e-6) for each in vectors)
    return first, second


def _spectra(images: NDArray[np.uint8]) -> Tensor:
    """Return features `(N, F)` that flips, rotations, shifts, brightness and contrast hardly change."""
    window = _window(images.shape[1])
    parts = []
    for start in range(0, len(images), _CHUNK):
        pixels = _opponents(_floats(images[start : start + _CHUNK]))
        amplitudes = torch.fft.fft2(_centred(pixels, window)).abs()
        features = _invariants(amplitudes[:, :1], _BRIGHTNESS)
        if pixels.shape[1] > 1:
            features = torch.cat([features, _invariants(amplitudes[:, 1:], _COLOUR)], 1)
        parts.append((features / features.norm(dim=1, keepdim=True).clamp_min(1e-6)).sqrt())
    return torch.cat(parts)


def _window(side: int) -> Tensor:
    line = torch.hann_window(side + 2, periodic=False)[1:-1]
    return line[:, None] * line


def _centred(pixels: Tensor, window: Tensor) -> Tensor:
    """Remove the mean, and let images fade to their borders, whose content a shift changes."""
    means = (pixels * window).sum((-2, -1), keepdim=True) / window.sum()
    return (pixels - means) * window


def _opponents(pixels: Tensor) -> Tensor:
    """Return brightness, then two differences of colours."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(1)
    return torch.stack([(red + green + blue) / 3, (red - green) / 2, (red + green - 2 * blue) / 4], 1)


def _invariants(amplitudes: Tensor, highest: int) -> Tensor:
    """Combine the amplitudes that flips and rotations exchange so that the results stay: `(N, F)`."""
    features = []
    for u in range(1, min(highest, (amplitudes.shape[-1] - 1) // 2) + 1):
        for v in range(u + 1):
            a, b = amplitudes[..., u, v], amplitudes[..., -u, v]
            c, d = amplitudes[..., v, u], amplitudes[..., -v, u]
            features.append(a + b + c + d)
            if v < u:
                features.append((a + b - c - d).abs())
            if v:
                features.append((a - b + c - d).abs())
            if 0 < v < u:
                features.append((a - b - c + d).abs())
    return torch.stack(features, -1).flatten(1)


def _compare(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return correlation and difference of pairs of images `(N, C, S, S)` after alignment."""
    variants = torch.stack([turned(second, number) for number in range(8)], 1)
    best, rows, columns = _aligned(first.mean(1), variants.mean(2))
    mask, moved = _moved(variants[torch.arange(len(first)), best], rows, columns)
    total = mask.sum((1, 2, 3)) * first.shape[1]
    centred = []
    for images in (first, moved):
        means = (images * mask).sum((1, 2, 3), keepdim=True) / total[:, None, None, None]
        centred.append((images - means) * mask)
    powers = [(each**2).sum((1, 2, 3)) / total for each in centred]
    products = (centred[0] * centred[1]).sum((1, 2, 3)) / total
    correlation = products / (powers[0] * powers[1]).sqrt().clamp_min(1e-6)
    # What a line through the pixels of the pair leaves, at the contrast of the image that has more of it.
    difference = ((1 - correlation.clamp(0, 1) ** 2) * torch.maximum(*powers)).sqrt()
    return correlation, difference


def turned(images: Tensor, number: int) -> Tensor:
    """Return images turned by `number` quarters, and flipped from 4 on; `number` is 0 to 7."""
    images = torch.rot90(images, number % 4, (-2, -1))
    return images.flip(-1) if number >= 4 else images


def _aligned(first: Tensor, variants: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best of the variants `(N, 8, S, S)`, and the rows and columns to shift it by, `(N,)`."""
    side = first.shape[-1]
    limit = max(1, round(side * LARGEST_SHIFT))
    window = _window(side).sqrt()
    spectra = [torch.fft.rfft2(_centred(each, window)) for each in (first[:, None], variants)]
    scores = torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=(side, side))
    shifts = torch.arange(-limit, limit + 1)
    place = scores[:, :, shifts[:, None], shifts].flatten(1).argmax(1)
    count = len(shifts)
    return place // count**2, shifts[place // count % count], shifts[place % count]


def _moved(images: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return where shifted images cover their frame, `(N, 1, S, S)`, and the shifted images."""
    side = images.shape[-1]
    y, x = (torch.arange(side) - each[:, None] for each in (rows, columns))
    inside = [(each >= 0) & (each < side) for each in (y, x)]
    mask = (inside[0][:, :, None] & inside[1][:, None, :])[:, None].float()
    y, x = y.clamp(0, side - 1)[:, :, None], x.clamp(0, side - 1)[:, None, :]
    numbers = torch.arange(len(images))[:, None, None]
    return mask, images.permute(0, 2, 3, 1)[numbers, y, x].permute(0, 3, 1, 2)
