"""The command line: it parses, calls the public interface and prints; nothing else.

Results go to stdout, progress and errors to stderr; ``--json`` makes the results machine-readable. Exit codes: 0 done,
1 failed or interrupted, 2 wrong use or bad input, 3 an error above ``--tol``.
"""

from .app import main

__all__ = ["main"]
