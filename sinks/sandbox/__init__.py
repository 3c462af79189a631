"""A query in a cage of its own: forked, confined by the kernel, watched from outside, and ended when it must be."""
