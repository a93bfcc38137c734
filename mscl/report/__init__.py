"""Figures, the Markdown of each stage, and the page that shows a whole run."""
