"""A GitOps daemon: one transaction over Kubernetes and Terraform, with automatic rollback."""

__version__ = "0.1.0"
