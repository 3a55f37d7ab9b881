"""What one worker does, one kind of task a module."""
