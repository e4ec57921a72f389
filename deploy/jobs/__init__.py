"""Jobs: read the store, call the science, write back."""
