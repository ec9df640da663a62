"""The tests of authkit: one folder for each kind of promise."""
