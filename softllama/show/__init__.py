"""Pieces that several packages print with: the console, progress, text that is safe to print."""
