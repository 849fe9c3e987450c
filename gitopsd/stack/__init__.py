"""One stack: what to do next, doing it, and remembering what came of it."""
