"""Messages to tokens that fit, and tokens back to text. Pure: no engine, no thread."""
