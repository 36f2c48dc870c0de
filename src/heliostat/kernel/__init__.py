"""Kernel IR: explicit loops, tiles, vectors and memory, without tensors; and `Program`, the artifact made of
kernels.
"""
