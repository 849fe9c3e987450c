from gitopsd.sealed.template import *  # noqa: F403
