"""``easel demo``: three tenants, three ways in, real parts, and a check that everything adds up."""
