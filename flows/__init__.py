"""Prefect flows and the console command; no mathematics."""
