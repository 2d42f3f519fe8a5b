"""Training and comparing encoders; only the commands import it."""
