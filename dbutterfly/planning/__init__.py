"""Integers before data: what a run will read, write, hold and take, and the search for the cheapest plan."""
