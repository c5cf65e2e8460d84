"""What strangers send besides text: recognized by its bytes, whatever it is said to be."""
