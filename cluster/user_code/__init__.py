"""The user's module: loaded, called, its errors located, its code hashed."""
