"""SQL facets of a store, one file each, and the numbered migrations they run on."""
