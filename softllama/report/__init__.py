"""The results of studies and evaluations as data, and how they become text, a page, pictures and files."""
