"""From a data set to a configuration."""
