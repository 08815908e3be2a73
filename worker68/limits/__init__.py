"""How fast an account may write: what was configured, the slots granted for it, and the slow-down after busy answers."""
