"""The cases of a run, prepared, and parted into folds."""
