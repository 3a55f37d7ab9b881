"""The page that shows a run: one HTML file that needs neither other files nor a network."""

from .page import page, write_page

__all__ = ["page", "write_page"]
