"""What the tests share: matrices, sources that keep a log, processes, servers, and simulated devices."""
