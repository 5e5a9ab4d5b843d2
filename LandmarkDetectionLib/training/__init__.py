"""Plan, cache, sampling, augmentation and the training loop."""
