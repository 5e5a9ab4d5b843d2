"""The anatomy of one synthetic head, in closed form.

Head coordinates are LPS millimetres: x to the left, y to the back, z up, in the Frankfurt plane (through the
orbits' lower edges and the upper edges of the ear canals) and midway between the ear canals.
"""
