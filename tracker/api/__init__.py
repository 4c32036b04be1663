"""What `import indelible` gives, and what the command line has in common with it.

`store.Store` is the public API in Python; the commands are as thin over the rooms below. Nothing
is imported here, so that `import indelible` stays as light as the command line's help.
"""
