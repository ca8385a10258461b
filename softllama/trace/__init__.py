"""The record of a generation as data, its files, and how it looks.

Knows vectors only: the loop makes the record, and does not appear here.
"""
