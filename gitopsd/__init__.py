"""A GitOps daemon: one transaction over Kubernetes and Terraform, with automatic rollback."""
