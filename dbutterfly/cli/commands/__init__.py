"""The commands, one a file. Their docstrings and options are the help texts."""
