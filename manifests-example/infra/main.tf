# Stands for what a cloud provider would make: a bucket with a name that nobody else has, and the host that serves it.
# There is no backend here: the host's configuration says where the state is kept.
terraform {
  required_version = ">= 1.5"
  required_providers {
    # One version and no lock file, so that the example also works with a provider that was built here and has no
    # checksum in any registry. In a repository of your own, commit .terraform.lock.hcl: gitopsd then installs nothing
    # else than what it names.
    random = { source = "hashicorp/random", version = "3.6.0" }
  }
}

variable "zone" {
  description = "The DNS zone that the shop's pictures are served from."
  type        = string
}

resource "random_pet" "bucket" {
  prefix = "shop"
}

resource "terraform_data" "pictures" {
  input = "${random_pet.bucket.id}.${var.zone}"
}

output "pictures_host" {
  description = "Where a browser finds the shop's pictures."
  value       = terraform_data.pictures.output
}
