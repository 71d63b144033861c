"""Programs that a benchmark runs as a user would run them: as a file, in an OS process of their own."""
