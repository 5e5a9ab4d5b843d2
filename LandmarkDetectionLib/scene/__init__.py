"""Between Slicer's scene (MRML, RAS) and the library (LPS)."""
