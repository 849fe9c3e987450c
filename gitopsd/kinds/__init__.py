"""What is known of Kubernetes kinds: spelling, marks, order, health, diff, field ownership.

Pure: no input or output, no clock; functions over parsed JSON.
"""
