"""What Cardigan Home sells."""
