"""Adds the agent, as a sidecar, to Kubernetes manifests: text in, text out, with no cluster asked.

`layout` knows where text goes in a YAML document, `workloads` where its pods are, `sidecar` what a pod gets, and
`manifest` puts the three together.
"""
