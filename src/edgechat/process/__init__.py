"""What a process of ours stands on: files that appear whole."""
