"""The child's side of the process border: a model file is untrusted, so what reads it lives here, without secrets."""
