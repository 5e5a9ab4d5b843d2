"""Reports that a person reads: folders of pages that open by double click, offline."""
