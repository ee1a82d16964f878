"""Former folder of :mod:`rescaps_plugin.training`, kept for one release: saved configs import its ``checkpoint``."""
