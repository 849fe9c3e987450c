from gitopsd.sealed.document import *  # noqa: F403
