"""The control socket: how people at the host tell the daemon what to do. Knows the model alone.

One connection carries one line of JSON each way. Who is at the other end is what the kernel says (SO_PEERCRED), never
what the line says.
"""
