"""What a worker says about itself: whether it is well, and what it does. Reads the parts of the runtime; changes none of them."""
