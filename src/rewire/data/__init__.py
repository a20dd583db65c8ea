"""Images on the device: CIFAR-10, the validation split, augmentation, resumable batches."""

from rewire.data.augment import AUGMENTATIONS
from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.images import ImageSet, as_float
from rewire.data.load import load_data

__all__ = ["AUGMENTATIONS", "EvalBatches", "ImageSet", "TrainBatches", "as_float", "load_data"]
