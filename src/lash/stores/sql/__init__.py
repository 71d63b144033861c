"""What both SQL dialects share: operations without SQL, one file each facet, and how values stand in columns."""
