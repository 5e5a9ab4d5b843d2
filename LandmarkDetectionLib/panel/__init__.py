"""What people see in Slicer: one class a section, and the client of the worker."""
