"""`make demo`: the product's main job on a real Kubernetes API server, each step shown and checked."""
