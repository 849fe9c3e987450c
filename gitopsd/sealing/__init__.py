"""Sealed secrets: opening what `kubeseal` wrote, writing what its controller opens, and the keypairs of this host."""
