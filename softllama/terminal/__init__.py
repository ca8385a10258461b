"""The interactive chat: lines in, text out."""
