"""The command line: parses its arguments, calls the public interface, and prints the results.

Results go to stdout, progress and errors to stderr. ``--json`` makes the results machine-readable. Exit codes: 0 done,
1 failed or interrupted, 2 wrong use or bad input, 3 a result that is not good enough, such as an error above ``--tol``.

``app`` is the program, ``commands`` has one file a command. The commands share their ``options``, the parsers of
``values``, and what they print: results (``printing``), and plan, log and errors (``messages``, ``logs``).
"""

from .app import main

__all__ = ["main"]
