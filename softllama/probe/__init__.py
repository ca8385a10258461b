"""The first question: what a model makes of a prompt that holds a mixture."""
