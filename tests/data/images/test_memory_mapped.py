"""Images on disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from convsmith.data.dataset import mean_and_std
from convsmith.data.images.memory_mapped import DiskImages


def test_images_on_disk_equal_the_array(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    on_disk = DiskImages(np.load(tmp_path / "images.npy", mmap_mode="r"))
    indices = np.array([7, 0, 49, 7])
    assert (len(on_disk), on_disk.shape) == (50, images.shape)
    assert np.array_equal(on_disk[indices], images[indices])
    assert np.array_equal(on_disk[3:9], images[3:9])
    assert np.array_equal(on_disk[4], images[4])
    assert np.array_equal(np.stack(list(on_disk)), images)
    assert np.array_equal(on_disk.select(indices)[1:], images[indices][1:])
    assert mean_and_std(on_disk) == mean_and_std(images)


def test_reading_from_disk_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """Reading 256 MB grows the peak memory by less than 32 MB."""
    script = """
import resource, sys
import numpy as np
from convsmith.data.images.memory_mapped import DiskImages
path, peak = sys.argv[1], lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
images = DiskImages(np.load(path, mmap_mode="r"))
images[:64]
before = peak()
order = np.random.default_rng(0).permutation(len(images))
total = sum(int(images[order[start:start + 64]].sum()) for start in range(0, len(images), 64))
print(total, peak() - before)
"""
    path = tmp_path / "images.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(4096, 256, 256, 1))[:] = 1
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    total, growth = result.stdout.split()
    assert int(total) == 4096 * 256 * 256
    assert float(growth) < 32
