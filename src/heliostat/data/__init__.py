"""Data sets, samplers and loaders, with the names of torch.utils.data. Work here is done on the host, in NumPy: items
and batches have their data at once, and no batch is another program.
"""

from __future__ import annotations

from .collate import collate, default_collate, default_convert
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)  # fmt: skip
from .loader import DataLoader
from .mix import CutMixCollator, MixupCollator, RandomMixupCutMixCollator
from .sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    RASampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)  # fmt: skip
from .worker import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "CutMixCollator", "DataLoader", "Dataset", "DistributedSampler",
    "IterableDataset", "MixupCollator", "RASampler", "RandomMixupCutMixCollator", "RandomSampler", "Sampler",
    "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler",
    "WorkerInfo", "collate", "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip
