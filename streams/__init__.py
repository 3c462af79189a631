"""What happens on the way: pure functions of frames and state, and two thin Faust apps."""
