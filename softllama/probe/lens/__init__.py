"""What every layer makes of a prompt: the logit lens, with mixtures beside their words alone."""
