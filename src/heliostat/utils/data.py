"""Data sets, samplers and loaders, with the names of `torch.utils.data`: those of `heliostat.data`."""

from ..data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    CutMixCollator,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    MixupCollator,
    RandomMixupCutMixCollator,
    RandomSampler,
    RASampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    WorkerInfo,
    collate,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "CutMixCollator", "DataLoader", "Dataset", "DistributedSampler",
    "IterableDataset", "MixupCollator", "RASampler", "RandomMixupCutMixCollator", "RandomSampler", "Sampler",
    "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler",
    "WorkerInfo", "collate", "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip
