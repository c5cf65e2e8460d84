"""PyTorch by Transformers: the referee, and folders of safetensors."""
