"""Numbered schema files, one folder per dialect. A file that has been released is never edited: add the next one."""
