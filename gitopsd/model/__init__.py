"""What flows between the stages: plain frozen data, the errors, and the ports to the outside.

Nothing here does input or output, reads a clock or logs; every other package may import it.
"""
