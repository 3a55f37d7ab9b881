"""The factors as a linear operator: products, inverses, norms, files, and products with stored matrices."""
