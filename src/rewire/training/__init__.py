"""LightningModule, rewiring Callback and runner; the only code that knows Lightning."""
