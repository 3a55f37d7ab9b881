"""The main job: what is asked, the run of its tasks, and the result."""
