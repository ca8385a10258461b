"""What a study found, as data, and how that becomes text, a page and pictures."""
