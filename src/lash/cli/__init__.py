"""The `lash` command: words on a terminal, nothing that the library could not do."""
