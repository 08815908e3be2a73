"""What a job, an outcome and a reply are, and every rule that needs no I/O: validation, states, proof, back-off."""
