"""Settings shared by all matplotlib plots."""

from matplotlib import rc_context

# Decorator for plots with external names: dollar signs are drawn literally and do not start a formula.
plain_text = rc_context({'text.parse_math': False})
