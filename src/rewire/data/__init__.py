"""Images on the device: CIFAR-10, the validation split, augmentation, resumable batches."""
