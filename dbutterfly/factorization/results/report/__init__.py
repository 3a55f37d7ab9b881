"""The page that shows a run: one HTML file that needs neither other files nor a network."""
