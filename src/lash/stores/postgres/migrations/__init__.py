"""Numbered schema files of the PostgreSQL dialect. A file that has been released is never edited: add the next one."""
