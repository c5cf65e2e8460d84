"""The HTTP API: a thin skin over the runtime. One room per dialect; errors and refusals in one place each."""
