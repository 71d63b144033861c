"""Numbered schema files of the SQLite dialect. A file that has been released is never edited: add the next one."""
