"""Sparse networks: layers in the θ/sign parameterisation, VGG11, VGG16, ResNet-18, saved weights."""
