# Slicer writes the extension's description and its packaging rules here.
