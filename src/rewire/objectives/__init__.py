"""Training objectives, one file each, registered in `rewire.registry.OBJECTIVES`.

An objective is `(model, x, y, *, generator, own options) -> (scalar loss with graph, detached
scalars to log)`. `model` is in the mode that the caller chose (training mode in training) and so
are its forward passes; attacks inside an objective run in evaluation mode and leave gradients,
modes and BatchNorm statistics as they were. Accuracies are in %. No objective waits for the device.
"""
