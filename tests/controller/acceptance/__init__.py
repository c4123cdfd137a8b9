"""The acceptance fuzz: specs drawn from the CRD's own schema, and what the API server and the operator make of them."""
