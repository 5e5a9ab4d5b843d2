"""Find named anatomical landmarks in 3D scans."""

__version__ = "0.1.0"
