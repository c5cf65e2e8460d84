"""The process boundary: a model file is untrusted, so everything that reads it lives in a child without secrets."""
