"""Sparse networks: θ/sign layers, VGG11, VGG16, ResNet-18, saved weights."""
