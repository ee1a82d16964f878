"""Tabs of the page: components and their events. What they compute is in the modules one folder up."""
