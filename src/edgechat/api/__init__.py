"""HTTP: a thin skin over the runtime. One file per dialect; errors and refusals in one place each."""
