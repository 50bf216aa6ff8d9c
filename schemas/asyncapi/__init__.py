"""The contract with other systems, made from the shapes that the services themselves read and write."""
