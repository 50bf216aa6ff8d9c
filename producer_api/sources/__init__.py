"""The pictures that callers of the API give: verified, and kept in the store under their tenant's prefix."""
