"""Data shared by several domains: image files and their checks, folders, and handwritten digits."""
