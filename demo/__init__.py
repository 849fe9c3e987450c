"""gitopsd shown at work on this machine: a cluster, a repository, the daemon, a good push and a bad one."""
