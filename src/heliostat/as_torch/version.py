"""The version of PyTorch whose names heliostat has: programs compare it."""

__version__ = "2.13.0"
cuda = None
hip = None
debug = False
git_version = "Unknown"
