"""Events that nobody's client should write and anybody's can, by the thousand, at a real installation."""
