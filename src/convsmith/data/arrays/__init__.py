"""Data sets as numbers: `.npz` and `.npy`, IDX, binary CIFAR, and arrays in memory."""
