"""Where and how tasks run: threads of this process or workers of a Dask cluster, behind one interface."""
