"""Where the voxels of a file lie: the one door for origin, spacing, direction, units and order of slices.

Image libraries believe the first of several statements that a file makes of its geometry, take 1 mm where it
makes none, and fill up what a damaged file lacks. Here every statement is read and held against the others,
and the bytes are counted before anything is believed. A contradiction that moves a voxel by more than half a
voxel, or a geometry that the file does not state, is refused.
"""
