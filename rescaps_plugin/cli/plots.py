"""What pictures by matplotlib share."""

from matplotlib import rc_context

# Decorates what draws names from outside: a dollar sign stands for itself, and begins no formula, which could be wrong.
plain_text = rc_context({'text.parse_math': False})
