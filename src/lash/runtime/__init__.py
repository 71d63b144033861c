"""The shell: the only place where effects are performed."""
